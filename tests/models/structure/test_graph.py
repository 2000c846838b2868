"""The graph of small modules, edge by edge."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from topout.errors import UnsupportedError
from topout.models.structure.graph import trace_graph
from topout.records import GraphNode, ModuleGraph
from topout.report.graph.module_graph import module_graph_svg

from .small_nets import (
    AsksForValues,
    CallsItself,
    Constant,
    DigitsNet,
    InPlace,
    ManyShapes,
    PastTheFunctions,
    Raises,
    Residual,
    TiedNet,
    Tower,
    TriesAnother,
    TwiceNet,
    Unregistered,
)


def edges(node: GraphNode) -> list[str]:
    """Each child with where its inputs come from: "+ < up, ^0"."""
    labels = {child.id: child.label for child in node.children}
    return [
        f"{child.label} < {', '.join(labels.get(ref, ref) for ref in child.inputs)}"
        for child in node.children
    ]


def child(node: GraphNode, label: str) -> GraphNode:
    return next(each for each in node.children if each.label == label)


def dangling(graph: ModuleGraph) -> list[str]:
    """References that name neither a node beside nor an input of the node around."""
    found: list[str] = []

    def look(node: GraphNode) -> None:
        known = {each.id for each in node.children} | {f"^{k}" for k in range(len(node.inputs))}
        for each in node.children:
            found.extend(ref for ref in each.inputs if ref not in known)
            look(each)
        found.extend(ref for ref in node.outputs if ref not in known)

    look(graph.root)
    known = {each.id for each in graph.root.children} | {f"^{k}" for k in range(99)}
    found += [ref for port in graph.outputs for ref in port.sources if ref not in known]
    return found


def test_a_residual_connection_goes_round_the_layers() -> None:
    graph = trace_graph(Residual(), torch.zeros(1, 8))
    assert edges(graph.root) == ["down < ^0", "relu < down", "up < relu", "+ < ^0, up"]
    assert [port.name for port in graph.inputs] == ["x"]
    assert [(port.name, port.shape) for port in graph.outputs] == [("output", [1, 8])]
    assert graph.outputs[0].sources == [child(graph.root, "+").id]


def test_layers_between_functions_and_without_dropout() -> None:
    graph = trace_graph(DigitsNet(), torch.zeros(1, 1, 28, 28))
    assert [each.label for each in graph.root.children] == [
        *("conv1", "max_pool2d", "relu", "conv2", "max_pool2d", "relu"),
        *("fc1", "relu", "fc2", "log_softmax"),
    ]
    assert any("Dropout2d × 1" in note for note in graph.notes)
    assert not dangling(graph)


def test_equal_blocks_become_a_stack() -> None:
    graph = trace_graph(Tower(blocks=5), torch.zeros(1, 3))
    first, stack, last = graph.root.children
    assert (stack.label, stack.last_label, stack.repeats) == ("blocks.0", "blocks.4", 5)
    assert stack.inputs == [first.id]
    assert last.inputs == [stack.id]
    assert edges(stack) == ["down < ^0", "relu < down", "up < relu", "+ < ^0, up"]


def test_expanded_blocks_stay_apart() -> None:
    graph = trace_graph(Tower(blocks=5), torch.zeros(1, 3), expand=True)
    assert len(graph.root.children) == 7
    assert all(each.repeats == 1 for each in graph.root.children)


def test_a_block_that_others_look_into_is_no_part_of_a_stack() -> None:
    class Tapped(Tower):
        def forward(self, x: Tensor) -> Tensor:
            taps = [self.first(x)]
            for block in self.blocks:
                taps.append(block(taps[-1]))
            return self.last(taps[-1] + taps[2])  # what the second block puts out

    graph = trace_graph(Tapped(blocks=4), torch.zeros(1, 3))
    stacks = [(each.label, each.repeats) for each in graph.root.children]
    assert stacks == [("first", 1), ("blocks.0", 2), ("blocks.2", 2), ("+", 1), ("last", 1)]
    plus = child(graph.root, "+")
    assert sorted(plus.inputs) == ["blocks.0", "blocks.2"]


def test_blocks_of_other_sizes_are_no_stack() -> None:
    net = nn.Sequential(Residual(8), nn.Linear(8, 6), Residual(6))
    graph = trace_graph(net, torch.zeros(1, 8))
    assert [each.repeats for each in graph.root.children] == [1, 1, 1]


def test_a_layer_called_twice_is_two_nodes() -> None:
    graph = trace_graph(TwiceNet(), torch.zeros(2, 5))
    assert [(each.id, each.inputs) for each in graph.root.children] == [
        ("layer", ["^0"]),
        ("layer#2", ["layer"]),
    ]


def test_nested_inputs_and_outputs_keep_their_names() -> None:
    graph = trace_graph(ManyShapes(), {"x": torch.zeros(2, 4)})
    assert [port.name for port in graph.inputs] == ["batch.x"]
    # The second output is the input's other half: a view, which is not drawn.
    assert [(port.name, port.sources) for port in graph.outputs] == [
        ("[0]", ["project"]),
        ("[2][0]", ["^0"]),
    ]
    assert edges(graph.root) == ["project < ^0"]


def test_a_write_through_a_view_reaches_who_reads_the_whole() -> None:
    graph = trace_graph(InPlace(), torch.zeros(3, 4))
    assert edges(graph.root) == ["layer < ^0", "setitem < layer", "× < setitem"]


def test_results_given_as_arguments_are_followed() -> None:
    class IntoOut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sums, largest, places = torch.ones(3), torch.ones(3), torch.ones(3).long()
            torch.sum(x, dim=1, out=sums)
            torch.max(x, dim=1, out=(largest, places))
            return sums.mul_(largest)

    graph = trace_graph(IntoOut(), torch.rand(3, 4))
    assert edges(graph.root) == ["sum < ^0", "max < ^0", "× < sum, max"]


def test_an_autograd_function_does_not_cut_the_flow() -> None:
    graph = trace_graph(PastTheFunctions(), torch.zeros(3, 4))
    assert edges(graph.root) == ["× < ^0", "layer < ×"]


def test_tied_weights_do_not_join_layers() -> None:
    graph = trace_graph(TiedNet(), torch.zeros(1, 2, dtype=torch.long))
    assert edges(graph.root) == ["embed < ^0", "head < embed"]


def test_a_boolean_input_is_a_mask_and_not_drawn() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.layer(x).masked_fill(~mask, 0.0)

    mask = torch.ones(2, 4, dtype=torch.bool)
    graph = trace_graph(Masked(), torch.zeros(2, 4), mask)
    assert [port.name for port in graph.inputs] == ["x"]
    assert edges(graph.root) == ["layer < ^0", "masked_fill < layer"]


def test_functions_of_the_model_are_nodes_with_their_ops() -> None:
    def scores(query: Tensor, key: Tensor) -> Tensor:
        return F.softmax(query @ key.transpose(0, 1), dim=-1)

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return scores(self.query(x), self.key(x)) @ x

    graph = trace_graph(Attends(), torch.zeros(3, 4))
    assert edges(graph.root) == [
        "query < ^0",
        "key < ^0",
        "scores < query, key",
        "matmul < scores, ^0",
    ]
    function = child(graph.root, "scores")
    assert function.kind == "function"
    assert edges(function) == ["matmul < ^0, ^1", "softmax < matmul"]


def test_a_function_that_calls_modules_is_no_node() -> None:
    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def around(self, x: Tensor) -> Tensor:
            return torch.tanh(self.layer(torch.relu(x)))

        def forward(self, x: Tensor) -> Tensor:
            return self.around(x) * 2

    graph = trace_graph(Calls(), torch.zeros(3, 4))
    assert edges(graph.root) == ["relu < ^0", "layer < relu", "tanh < layer", "× < tanh"]


def test_real_and_meta_tensors_give_the_same_graph() -> None:
    with torch.device("meta"):
        meta = trace_graph(Tower(), torch.zeros(1, 3))
    assert meta == trace_graph(Tower(), torch.zeros(1, 3))


def test_a_torch_encoder_layer_is_followed_without_its_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    graph = trace_graph(layer, torch.zeros(1, 5, 16))
    labels = [each.label for each in graph.root.children]
    assert labels.count("+") == 2
    assert {"self_attn", "linear1", "linear2", "norm1", "norm2"} <= set(labels)
    assert not dangling(graph)


def test_a_failure_names_the_layer_and_the_op() -> None:
    with torch.device("meta"):
        net, x = AsksForValues(), torch.zeros(1, 4)
    with pytest.raises(UnsupportedError, match=r"AsksForValues at aten::_local_scalar_dense"):
        trace_graph(net, x)


def test_wrong_inputs_are_a_failure_too() -> None:
    with pytest.raises(UnsupportedError, match="down"):
        trace_graph(Residual(), torch.zeros(1, 5))


def test_an_error_without_an_op_names_its_layer() -> None:
    with pytest.raises(UnsupportedError, match=r"part \(Part\) at Python code: ValueError"):
        trace_graph(Raises(), torch.zeros(1, 5))


def test_a_layer_whose_failure_was_caught_is_left() -> None:
    graph = trace_graph(TriesAnother(), torch.zeros(1, 4))
    assert edges(graph.root) == ["right < ^0"]


def test_a_model_that_calls_itself_is_nested() -> None:
    graph = trace_graph(CallsItself(), torch.zeros(1, 4))
    assert edges(graph.root) == ["+ < ^0", "CallsItself < +"]
    assert edges(graph.root.children[1]) == ["+ < ^0", "CallsItself < +"]
    assert not dangling(graph)
    assert module_graph_svg(graph)


def test_what_no_input_has_a_part_in_is_an_empty_graph() -> None:
    graph = trace_graph(Constant(), torch.zeros(1, 4))
    assert (graph.root.children, graph.inputs, graph.outputs) == ([], [], [])
    assert module_graph_svg(graph)


def test_a_module_made_on_the_way_divides_the_function_around_it() -> None:
    graph = trace_graph(Unregistered(), torch.zeros(1, 4))
    assert edges(graph.root) == ["around < ^0", "softmax < around", "around < softmax"]
    assert len({each.id for each in graph.root.children}) == 3
    assert module_graph_svg(graph)


def test_a_scripted_part_is_one_node() -> None:
    net = nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Linear(4, 2)))
    graph = trace_graph(net, torch.zeros(3, 4))
    assert [each.label for each in graph.root.children] == ["0", "1"]


def test_a_dangling_reference_is_found() -> None:
    node = GraphNode(id="a", kind="op", label="a", inputs=["nowhere"])
    root = GraphNode(id="model", kind="module", label="M", children=[node])
    assert dangling(ModuleGraph(root=root, inputs=[], outputs=[])) == ["nowhere"]
