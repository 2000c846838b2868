"""Recurrent layers: every weight meets each step of each sequence."""

import pytest
import torch
from torch import nn

from topout.cost.graph import count

from .one_op import flops_by_phase, meta, only

_STEPS, _BATCH, _INPUT, _HIDDEN = 5, 3, 8, 16


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("grad", [True, False])
def test_forward_by_hand(layer: type[nn.Module], gates: int, device: str, grad: bool) -> None:
    network = layer(_INPUT, _HIDDEN, device=device)
    with torch.set_grad_enabled(grad):
        counted = count(network, torch.ones(_STEPS, _BATCH, _INPUT, device=device))
    # 5·3 steps of sequences, gates·16 rows of 8 + 16 weights.
    assert counted.total.flops == 2 * 15 * gates * 16 * (8 + 16)
    assert counted.not_counted == []


def test_two_directions_and_two_layers() -> None:
    network = nn.LSTM(_INPUT, _HIDDEN, num_layers=2, bidirectional=True)
    counted = count(network, torch.ones(_STEPS, _BATCH, _INPUT))
    # The second layer sees both directions of the first: 32 wide.
    assert counted.total.flops == 2 * (2 * 15 * 4 * 16 * ((8 + 16) + (32 + 16)))


def test_backward_takes_two_products_for_each() -> None:
    value = torch.ones(_STEPS, _BATCH, _INPUT, requires_grad=True)
    flops = flops_by_phase(count(nn.LSTM(_INPUT, _HIDDEN), value, backward=True))
    assert flops["backward"] == 2 * flops["forward"]


def test_kernel_of_gpus() -> None:
    """cuDNN's layer takes all weights as a list; LSTM is mode 2."""
    weights = [meta(64, 8), meta(64, 16), meta(64), meta(64)]
    row = only(
        torch.ops.aten._cudnn_rnn,
        *(meta(5, 3, 8), weights, 4, None, meta(1, 3, 16), meta(1, 3, 16), 2, 16, 0, 1),
        *(False, 0.0, False, False, [], None),
    )
    assert row.family == "recurrent"
    assert row.work.flops == 2 * 15 * 64 * 24
    assert row.work.other_flops == 13 * 15 * 16
