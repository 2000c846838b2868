"""Values in every data type, and what leaves guarded memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from topout.gemm.matrices import (
    INPUT_TYPES,
    POISON,
    GuardedMemory,
    Layout,
    Operand,
    as_doubles,
    encoded,
    from_bf16,
    poison,
    random_matrix,
    to_bf16,
    whole_numbers,
)
from topout.records.gemm import GemmDtype

DTYPES: list[GemmDtype] = ["fp32", "bf16", "int8"]


@given(st.lists(st.floats(width=32), min_size=1))
def test_bf16_is_pytorchs(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    theirs = torch.from_numpy(array).to(torch.bfloat16)
    ours = from_bf16(to_bf16(array))
    np.testing.assert_array_equal(ours, theirs.float().numpy())


@given(st.integers(1, 2**24 - 1), st.sampled_from(DTYPES))
def test_sums_of_whole_numbers_are_exact(k: int, dtype: GemmDtype) -> None:
    matrix = whole_numbers(8, 8, dtype, k, np.random.default_rng(k))
    largest = int(np.abs(matrix.astype(int)).max())
    assert largest > 0
    assert largest**2 * k < (2**31 + 1 if dtype == "int8" else 2**24)
    np.testing.assert_array_equal(as_doubles(encoded(matrix, dtype)), matrix)


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_matrices_are_finite_and_aligned(dtype: GemmDtype) -> None:
    matrix = random_matrix(33, 17, dtype, np.random.default_rng(0))
    assert matrix.dtype == INPUT_TYPES[dtype] and matrix.shape == (33, 17)
    assert matrix.ctypes.data % 64 == 0
    values = as_doubles(matrix)
    assert np.isfinite(values).all() and values.std() > 0
    assert dtype == "int8" or (values != 0).all()


def test_poison_is_no_number_and_no_small_sum() -> None:
    floats, integers = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.int32)
    poison(floats)
    poison(integers)
    assert np.isnan(floats).all() and (integers < -1_000_000).all()


_TOUCH = """
import ctypes, sys
from topout.gemm.matrices import GuardedMemory
memory = GuardedMemory(100)
address = {"start": memory.start, "end": memory.end}[sys.argv[1]] + int(sys.argv[2])
ctypes.memset(address, 1, 1) if sys.argv[3] == "write" else ctypes.string_at(address, 1)
print("survived")
"""


@pytest.mark.parametrize("how", ["read", "write"])
@pytest.mark.parametrize(
    ("edge", "offset", "survives"),
    [("start", -1, False), ("start", 0, True), ("end", -1, True), ("end", 0, False)],
)
def test_only_the_guards_are_deadly(edge: str, offset: int, survives: bool, how: str) -> None:
    command = [sys.executable, "-c", _TOUCH, edge, str(offset), how]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert (finished.returncode == 0) is survives
    assert ("survived" in finished.stdout) is survives


def test_places() -> None:
    with GuardedMemory(100) as memory:
        assert memory.address(100, "start") == memory.start
        assert memory.address(100, "end") == memory.end - 100
        middle = memory.address(64, "middle", 4)
        assert middle % 64 == 4 and memory.start < middle < memory.end - 64
        values = memory.array(memory.address(8, "end"), (2,), np.float32)
        values[:] = 3
        assert values.tolist() == [3, 3]


@pytest.mark.parametrize("layout", [Layout("start"), Layout("end"), Layout("middle", 1)])
@pytest.mark.parametrize("size", [(3, 5), (0, 5), (5, 0), (1, 1)])
def test_an_operand_lies_where_its_layout_says(layout: Layout, size: tuple[int, int]) -> None:
    with Operand(*size, np.float32, layout) as operand:
        assert operand.values.shape == size
        assert operand.end - operand.address == 4 * size[0] * size[1]
        operand.values[...] = 1
        assert (operand.everything == 1).all()


def test_gaps_are_what_lies_between_the_rows() -> None:
    with Operand(3, 5, np.float32, Layout("end", gap=2)) as operand:
        operand.everything.view(np.uint32).fill(POISON)
        operand.values[...] = np.arange(15).reshape(3, 5)
        assert operand.stride == 7 and operand.everything.size == 2 * 7 + 5
        assert operand.gaps().view(np.uint32).tolist() == [POISON] * 4
        assert operand.row_address(2) == operand.address + 2 * 7 * 4
        assert operand.everything[-1] == 14  # flush with the guard page
