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
