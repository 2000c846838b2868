"""Matrix products in all the ways that PyTorch offers them, counted by hand."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from topout.cost.graph import count

from .one_op import flops_by_phase, meta, only, rows_of, torch_flops

sizes = st.integers(1, 9)

# 2·3·4·5 = 120: a product of 3×4 and 4×5. Batches of 2: 240.
_MATRIX, _BATCHES = 120, 240


def numbers(*shape: int) -> torch.Tensor:
    return meta(*shape, dtype=torch.int8)


@pytest.mark.parametrize(
    ("run", "flops"),
    [
        (lambda: meta(3, 4) @ meta(4, 5), _MATRIX),
        (lambda: torch.mm(meta(3, 4), meta(4, 5)), _MATRIX),
        (lambda: torch.addmm(meta(5), meta(3, 4), meta(4, 5)), _MATRIX),
        (lambda: torch._addmm_activation(torch.ones(5), torch.ones(3, 4), torch.ones(4, 5)), 120),
        (lambda: meta(3, 5).addmm_(meta(3, 4), meta(4, 5)), _MATRIX),
        (lambda: torch.mm(meta(3, 4), meta(4, 5), out=meta(3, 5)), _MATRIX),
        (lambda: F.linear(meta(3, 4), meta(5, 4), meta(5)), _MATRIX),
        (lambda: F.linear(meta(2, 3, 4), meta(5, 4)), _BATCHES),
        (lambda: torch.bmm(meta(2, 3, 4), meta(2, 4, 5)), _BATCHES),
        (lambda: meta(2, 3, 4) @ meta(2, 4, 5), _BATCHES),
        (lambda: meta(2, 3, 4) @ meta(4, 5), _BATCHES),
        (lambda: torch.baddbmm(meta(2, 3, 5), meta(2, 3, 4), meta(2, 4, 5)), _BATCHES),
        (lambda: torch.addbmm(meta(3, 5), meta(2, 3, 4), meta(2, 4, 5)), _BATCHES),
        (lambda: torch.einsum("bik,bkj->bij", meta(2, 3, 4), meta(2, 4, 5)), _BATCHES),
        (lambda: torch.tensordot(meta(3, 4), meta(4, 5), dims=1), _MATRIX),
        # 2·3·4 = 24.
        (lambda: torch.mv(meta(3, 4), meta(4)), 24),
        (lambda: meta(3, 4) @ meta(4), 24),
        (lambda: torch.addmv(meta(3), meta(3, 4), meta(4)), 24),
        (lambda: torch.dot(torch.ones(4), torch.ones(4)), 8),
        (lambda: torch.vdot(torch.ones(4), torch.ones(4)), 8),
        # A column times a row, added: a multiply-add for each of 3·5 elements.
        (lambda: torch.addr(torch.ones(3, 5), torch.ones(3), torch.ones(5)), 30),
        (
            lambda: torch._int_mm(numbers(32, 16), numbers(16, 8)),
            8192,
        ),
    ],
)
def test_hand_counts(run: Callable[[], object], flops: int) -> None:
    counted = count(run)
    assert counted.complete
    assert counted.total.flops == counted.total.causal_flops == flops
    assert counted.not_counted == []


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_every_gradient_mode_counts_the_same(mode: Callable[[], object]) -> None:
    weight, value = torch.ones(5, 4), torch.ones(2, 3, 4)

    def run() -> None:
        F.linear(value, weight, torch.ones(5))
        value @ value.mT
        torch.einsum("bij,bkj->bik", value, value)

    with mode():  # type: ignore[attr-defined]
        counted = count(run)
    # 2·2·3·4·5 = 240, and twice 2·2·3·4·3 = 144.
    assert counted.total.flops == 528
    assert {row.name for row in counted.rows if row.work.flops} <= {"aten::addmm", "aten::bmm"}


def test_an_outer_product_adds_nothing_up() -> None:
    counted = count(torch.outer, meta(3), meta(5))
    assert counted.total.flops == 0
    assert counted.total.other_flops == 15


def test_a_complex_multiply_add_is_8_flops() -> None:
    complex_numbers = torch.complex64
    counted = count(torch.mm, meta(3, 4, dtype=complex_numbers), meta(4, 5, dtype=complex_numbers))
    assert counted.total.flops == 8 * 3 * 4 * 5


def test_scaled_product_of_eight_bit_floats() -> None:
    left = meta(32, 64, dtype=torch.float8_e4m3fn)
    right = meta(16, 64, dtype=torch.float8_e4m3fn).t()
    row = only(torch._scaled_mm, left, right, meta(), meta(), out_dtype=torch.bfloat16)
    assert row.work.flops == 2 * 32 * 64 * 16
    # 32·64 + 64·16 one-byte numbers, two fp32 scales; 32·16 bf16 results.
    assert row.work.read_bytes == 2048 + 1024 + 8
    assert row.work.written_bytes == 1024


def test_eight_bit_weights() -> None:
    weight = torch.ones(16, 32, dtype=torch.int8)
    value = torch.ones(8, 32, dtype=torch.bfloat16)
    row = only(torch._weight_int8pack_mm, value, weight, torch.ones(16, dtype=torch.bfloat16))
    assert row.work.flops == 2 * 8 * 32 * 16
    assert row.work.read_bytes == 2 * 8 * 32 + 16 * 32 + 2 * 16


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_groups_of_rows_are_one_product_together(device: str) -> None:
    """A mixture of experts: 3 rows through one, 5 through the other; fp32 runs on meta too."""
    left = torch.ones(8, 16, device=device, requires_grad=True)
    right = torch.ones(2, 16, 32, device=device, requires_grad=True)
    offs = torch.tensor([3, 8], dtype=torch.int32, device=device)
    counted = count(lambda: torch._grouped_mm(left, right, offs=offs), backward=True)
    assert counted.complete
    assert flops_by_phase(counted) == {"forward": 2 * 8 * 16 * 32, "backward": 4 * 8 * 16 * 32}
    (row,) = rows_of(counted, "aten::_grouped_mm")
    assert row.outputs == [[8, 32]]


def test_stacks_of_products_are_a_batch() -> None:
    row = only(torch._grouped_mm, meta(2, 3, 16), meta(2, 16, 32))
    assert row.work.flops == 2 * 2 * 3 * 16 * 32


def test_linear_bytes_by_hand() -> None:
    row = only(F.linear, torch.ones(3, 4), torch.ones(5, 4), torch.ones(5))
    # fp32: 12 + 20 + 5 numbers in, 15 out.
    assert (row.work.read_bytes, row.work.written_bytes) == (4 * 37, 4 * 15)
    assert row.work.arithmetic_intensity == 120 / (4 * 52)
    assert row.inputs == [[5], [3, 4], [4, 5]]
    assert (row.outputs, row.dtype) == ([[3, 5]], "float32")


@settings(max_examples=20, deadline=None)
@given(rows=sizes, inner=sizes, columns=sizes, batch=sizes)
def test_equals_the_counter_of_torch(rows: int, inner: int, columns: int, batch: int) -> None:
    network = nn.Sequential(nn.Linear(inner, columns), nn.GELU(), nn.Linear(columns, inner))
    value = torch.ones(batch, rows, inner)

    def run() -> torch.Tensor:
        result = network(value)
        return torch.bmm(result, value.mT)

    counted = count(run, backward=lambda result: result.sum())
    assert counted.total.flops == torch_flops(run, backward=True)


def test_the_wrong_formula_is_noticed() -> None:
    """The comparison above can fail: a fused multiply-add counted as one is half of it."""
    counted = count(torch.mm, torch.ones(3, 4), torch.ones(4, 5))
    assert counted.total.flops // 2 != torch_flops(lambda: torch.ones(3, 4) @ torch.ones(4, 5))


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
