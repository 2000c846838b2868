"""Matrices to multiply: exact conversions, exact sums, nothing that is zero or not finite."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from topout.gemm.inputs import (
    INPUT_TYPES,
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
