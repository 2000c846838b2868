"""Layers against hand counts."""

import pytest
import torch
from torch import nn

from topout.errors import InputError
from topout.models.structure.layers import summarize_layers
from topout.records import Layer, Layers

from .small_nets import AsksForValues, DigitsNet, ManyShapes, TiedNet, Tower, TwiceNet


def _by_name(layers: Layers) -> dict[str, Layer]:
    def walk(layer: Layer) -> dict[str, Layer]:
        found = {layer.name: layer}
        for child in layer.children:
            found |= walk(child)
        return found

    return walk(layers.root)


def test_the_digits_net_of_the_mission() -> None:
    layers = summarize_layers(DigitsNet(), torch.zeros(1, 1, 28, 28))
    parts = [(layer.name, layer.parameters, layer.output_shapes) for layer in layers.root.children]
    assert parts == [
        ("conv1", 260, [[1, 10, 24, 24]]),  # 10·1·5·5 + 10
        ("conv2", 5_020, [[1, 20, 8, 8]]),  # 20·10·5·5 + 20
        ("conv2_drop", 0, [[1, 20, 8, 8]]),
        ("fc1", 16_050, [[1, 50]]),  # 320·50 + 50
        ("fc2", 510, [[1, 10]]),  # 50·10 + 10
    ]
    assert layers.parameters == layers.trainable_parameters == 21_840
    # Outputs 5760 + 1280 + 1280 + 50 + 10 = 8380 numbers of 4 bytes; inputs 28·28.
    assert layers.forward_bytes == 8_380 * 4
    assert layers.input_bytes == 784 * 4
    # 3,136 + 2 · 33,520 + 87,360 = 157,536 bytes.
    assert layers.total_bytes == 157_536
    assert f"{layers.total_bytes / 1024**2:.2f}" == "0.15"


def test_a_batch_multiplies_outputs_and_inputs_but_no_parameters() -> None:
    one = summarize_layers(DigitsNet(), torch.zeros(1, 1, 28, 28))
    four = summarize_layers(DigitsNet(), torch.zeros(4, 1, 28, 28))
    assert four.forward_bytes == 4 * one.forward_bytes
    assert four.input_bytes == 4 * one.input_bytes
    assert four.parameter_bytes == one.parameter_bytes


def test_meta_tensors_tell_the_same() -> None:
    with torch.device("meta"):
        meta = summarize_layers(DigitsNet(), torch.zeros(1, 1, 28, 28))
    assert meta == summarize_layers(DigitsNet(), torch.zeros(1, 1, 28, 28))


def test_tied_weights_count_once_and_are_marked() -> None:
    layers = summarize_layers(TiedNet(), torch.zeros(2, 3, dtype=torch.long))
    head = _by_name(layers)["head"]
    assert layers.parameters == 66  # 11·6
    assert layers.parameter_bytes == 66 * 4
    assert (head.own_parameters, head.own_shared_parameters) == (66, 66)
    assert head.shared_with == ["embed"]


def test_without_tying_they_count_twice() -> None:
    net = TiedNet()
    net.head.weight = nn.Parameter(net.embed.weight.detach().clone())
    layers = summarize_layers(net, torch.zeros(2, 3, dtype=torch.long))
    assert layers.parameters == 132
    assert _by_name(layers)["head"].own_shared_parameters == 0


def test_a_layer_called_twice_puts_out_twice_and_holds_once() -> None:
    layers = summarize_layers(TwiceNet(), torch.zeros(2, 5))
    layer = _by_name(layers)["layer"]
    assert (layer.calls, layer.parameters) == (2, 30)  # 5·5 + 5
    assert layer.output_bytes == 2 * (2 * 5 * 4)
    assert layers.forward_bytes == 2 * (2 * 5 * 4)


def test_a_layer_that_never_ran_stands_last_with_a_reason() -> None:
    layers = summarize_layers(TwiceNet(), torch.zeros(2, 5))
    last = layers.root.children[-1]
    assert (last.name, last.calls, last.output_shapes) == ("unused", 0, None)
    assert "Not called" in last.reasons["output_shapes"]
    assert layers.parameters == 60


def test_one_module_in_two_places_is_told_in_the_first() -> None:
    layer = nn.Linear(3, 3)
    layers = summarize_layers(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 3))
    first, relu, again = layers.root.children
    assert (first.calls, relu.calls, again.calls) == (2, 1, 0)
    assert again.own_shared_parameters == 12  # 3·3 + 3
    assert layers.parameters == 12
    assert "same module" in again.reasons["output_shapes"]


def test_outputs_of_any_nesting() -> None:
    layers = summarize_layers(ManyShapes(), {"x": torch.zeros(2, 4)})
    found = _by_name(layers)
    assert found["splits"].output_shapes == [[2, 2], [2, 2]]
    assert found["silent"].output_shapes == []
    assert found[""].output_shapes == [[2, 3], [2, 2]]
    assert layers.input_bytes == 2 * 4 * 4


def test_inner_bytes_are_those_of_layers_that_call_no_other() -> None:
    layers = summarize_layers(Tower(blocks=3), torch.zeros(1, 3))
    # first 8, each block 4 + 8, last 2 numbers: 8 + 3·12 + 2 = 46.
    assert layers.forward_bytes == 46 * 4
    holder = _by_name(layers)["blocks"]
    assert (holder.calls, holder.forward_bytes) == (0, 36 * 4)
    assert "Holds other layers" in holder.reasons["output_shapes"]


def test_frozen_parameters_and_buffers_are_told_apart() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    net[0].weight.requires_grad_(False)
    layers = summarize_layers(net, torch.zeros(2, 4))
    assert (layers.parameters, layers.trainable_parameters) == (28, 12)  # 16 + 4 + 8; less 16
    assert layers.buffers == 9  # mean 4, variance 4, batches seen 1
    assert layers.buffer_bytes == 8 * 4 + 8


def test_depth_leaves_out_layers_but_not_their_sums() -> None:
    whole = summarize_layers(Tower(), torch.zeros(1, 3))
    cut = summarize_layers(Tower(), torch.zeros(1, 3), depth=1)
    assert {layer.depth for layer in _by_name(cut).values()} == {0, 1}
    assert cut.total_bytes == whole.total_bytes
    assert summarize_layers(Tower(), torch.zeros(1, 3), depth=0).root.children == []


def test_a_negative_depth_is_refused() -> None:
    with pytest.raises(InputError, match="depth -1"):
        summarize_layers(Tower(), torch.zeros(1, 3), depth=-1)


def test_a_failure_names_layer_and_op_and_keeps_the_tree() -> None:
    with torch.device("meta"):
        net, x = AsksForValues(), torch.zeros(1, 4)
    layers = summarize_layers(net, x)
    assert layers.failure is not None
    assert layers.failure.op == "aten::_local_scalar_dense"
    assert layers.failure.layer == "AsksForValues"
    assert layers.total_bytes is None
    assert "total_bytes" in layers.reasons
    assert [layer.calls for layer in layers.root.children] == [1, 0]
    assert layers.parameters == 40


def test_the_module_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    net[1].eval()
    before = net[0].running_mean.clone()
    summarize_layers(net, torch.ones(4, 3))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert torch.equal(net[0].running_mean, before)
    assert not net[0]._forward_hooks
    assert not net[0]._forward_pre_hooks


def test_modules_of_other_models_are_not_followed() -> None:
    summarize_layers(DigitsNet(), torch.zeros(1, 1, 28, 28))
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
