"""References: rows in fp64, and every element in whole numbers, with one wrong at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.gemm.exact import WholeNumberProduct, exact_rows, sampled_rows
from topout.gemm.inputs import random_matrix, to_bf16, whole_numbers
from topout.records.gemm import GemmDtype


def product_of(m: int, n: int, k: int) -> tuple[WholeNumberProduct, np.ndarray]:
    random = np.random.default_rng([m, n, k])
    a, b = (whole_numbers(*shape, "fp32", k, random) for shape in ((m, k), (k, n)))
    return WholeNumberProduct(a, b, random), (a.astype(int) @ b.astype(int)).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 20), st.data())
def test_one_wrong_element_is_always_found(m: int, n: int, k: int, data: st.DataObject) -> None:
    product, right = product_of(m, n, k)
    assert product.fault_of(right) is None
    i, j = data.draw(st.integers(0, m - 1)), data.draw(st.integers(0, n - 1))
    wrong = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.5, 1, -1, 2.0**20]))
    right[i, j] += np.float32(wrong)
    fault = product.fault_of(right)
    assert fault is not None and f"1 of {m} rows are wrong" in fault and f"C[{i}][{j}] = " in fault


def test_rows_of_a_part_keep_their_numbers() -> None:
    product, right = product_of(10, 6, 4)
    part = right[6:].copy()
    assert product.fault_of(part, first_row=6) is None
    part[1, 2] += 1
    assert "C[7][2]" in (product.fault_of(part, first_row=6) or "")


def test_int32_results_are_checked_too() -> None:
    random = np.random.default_rng(0)
    a, b = (whole_numbers(*shape, "int8", 9, random) for shape in ((4, 9), (9, 5)))
    right = a.astype(np.int32) @ b.astype(np.int32)
    product = WholeNumberProduct(a, b, random)
    assert product.fault_of(right) is None
    right[3, 4] ^= 1
    assert "C[3][4]" in (product.fault_of(right) or "")


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(1, 10**5))
def test_sampled_rows_hold_the_first_and_the_last(m: int, n: int, k: int) -> None:
    rows = sampled_rows(m, n, k, np.random.default_rng(0))
    assert rows[0] == 0 and rows[-1] == m - 1
    assert (np.diff(rows) > 0).all()
    assert len(rows) == m or len(rows) * 4 * n * k <= max(2e9, 16 * n * k)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_rows_in_fp64_tell_right_from_wrong(dtype: GemmDtype) -> None:
    random = np.random.default_rng(1)
    a, b = random_matrix(9, 30, dtype, random), random_matrix(30, 11, dtype, random)
    reference = exact_rows(a, b, np.array([0, 4, 8]), dtype)
    found = np.zeros((9, 11), np.int32 if dtype == "int8" else np.float32)
    found[reference.rows] = reference.exact
    assert reference.compare(found).mismatch is None
    found[5] = 1e9  # not among the rows
    assert reference.compare(found).mismatch is None
    found[4, 10] += 1
    mismatch = reference.compare(found).mismatch
    assert mismatch is not None and (mismatch.row, mismatch.column) == (4, 10)


def test_a_result_in_bf16_may_be_rounded_once_more() -> None:
    random = np.random.default_rng(1)
    a, b = random_matrix(3, 30, "bf16", random), random_matrix(30, 11, "bf16", random)
    reference = exact_rows(a, b, np.arange(3), "bf16")
    rounded = to_bf16(reference.exact.astype(np.float32))
    assert reference.compare(rounded).mismatch is None
    rounded[2, 3] += 2  # two units in the last place
    assert reference.compare(rounded).mismatch is not None
