"""Convolutions: each output is one window times one filter."""

import pytest
import torch
from torch import nn

from topout.cost.graph import count

from .one_op import flops_by_phase, meta, torch_flops


@pytest.mark.parametrize(
    ("layer", "size", "flops"),
    [
        # Outputs 2·16·10, windows of 8·3.
        (nn.Conv1d(8, 16, 3), (12,), 2 * (2 * 16 * 10) * 24),
        # Each group sees 8/4 channels.
        (nn.Conv1d(8, 16, 3, groups=4), (12,), 2 * (2 * 16 * 10) * 6),
        # Stride 2, holes of 2: (12 − 5) // 2 + 1 = 4 outputs a side.
        (nn.Conv2d(8, 16, 3, stride=2, dilation=2), (12, 12), 2 * (2 * 16 * 16) * 72),
        # Padding is counted like input: 12·12 outputs.
        (nn.Conv2d(8, 16, 3, padding=1), (12, 12), 2 * (2 * 16 * 144) * 72),
        # One channel a group.
        (nn.Conv2d(8, 8, 3, groups=8), (12, 12), 2 * (2 * 8 * 100) * 9),
        (nn.Conv3d(4, 8, 2), (6, 6, 6), 2 * (2 * 8 * 125) * 32),
        # Transposed: each of 2·8·12 inputs meets 16·3 weights.
        (nn.ConvTranspose1d(8, 16, 3), (12,), 2 * (2 * 8 * 12) * 48),
        (nn.ConvTranspose2d(8, 16, 3, stride=2, groups=2), (6, 6), 2 * (2 * 8 * 36) * 72),
    ],
)
def test_hand_counts_forward_and_backward(
    layer: nn.Module, size: tuple[int, ...], flops: int
) -> None:
    value = torch.ones(2, layer.in_channels, *size, requires_grad=True)  # type: ignore[arg-type]
    counted = count(layer, value, backward=True)
    # The gradients of input and weight take as much as the forward, each.
    assert flops_by_phase(counted) == {"forward": flops, "backward": 2 * flops}
    assert counted.not_counted == []
    assert torch_flops(lambda: layer(value)) == flops


def test_the_first_layer_needs_no_gradient_of_its_input() -> None:
    counted = count(nn.Conv2d(3, 8, 3), torch.ones(1, 3, 8, 8), backward=True)
    assert counted.phases["backward"].flops == counted.phases["forward"].flops


def test_equals_the_counter_of_torch_without_groups() -> None:
    layer = nn.Conv2d(3, 8, 3)
    value = torch.ones(1, 3, 8, 8, requires_grad=True)
    counted = count(layer, value, backward=True)
    assert counted.total.flops == torch_flops(lambda: layer(value), backward=True)


def test_the_counter_of_torch_ignores_groups_in_the_backward() -> None:
    """As docs/counting.md says; if this fails, PyTorch has mended it."""
    layer = nn.Conv1d(8, 16, 3, groups=4)
    value = torch.ones(2, 8, 12, requires_grad=True)
    counted = count(layer, value, backward=True)
    assert torch_flops(lambda: layer(value), backward=True) > counted.total.flops


def test_bytes_by_hand() -> None:
    counted = count(nn.Conv2d(3, 8, 3, device="meta"), meta(1, 3, 8, 8))
    (row,) = counted.rows
    # 3·8·8 input, 8·3·3·3 weight, 8 bias; 8·6·6 output; fp32.
    assert row.work.read_bytes == 4 * (192 + 216 + 8)
    assert row.work.written_bytes == 4 * 288


def test_complex_convolution() -> None:
    layer = nn.Conv1d(1, 1, 3, dtype=torch.complex64)
    counted = count(layer, torch.ones(1, 1, 5, dtype=torch.complex64))
    # PyTorch takes it apart into three real ones, of 3 outputs and 3 multiply-adds each.
    assert counted.total.flops == 3 * 2 * 9


def test_time_batch_channel() -> None:
    counted = count(torch.conv_tbc, torch.ones(12, 2, 8), torch.ones(3, 8, 16), torch.ones(16))
    assert counted.total.flops == 2 * (10 * 2 * 16) * 24
