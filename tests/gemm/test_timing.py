"""Products made ready to be timed are checked first, and each candidate's own result is."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.gemm.case import Case
from topout.gemm.matrices import random_matrix, to_bf16
from topout.gemm.sources import GemmChoice
from topout.gemm.timing import TimedProducts, exact_rows, sampled_rows
from topout.records.gemm import GemmDtype

NAIVE = GemmChoice("naive")


CASE = Case(20, 30, 40, "fp32", 1)


class NumPy:
    """A rival that is right, or off by `error` everywhere."""

    name, dtype, packed_ahead = "numpy", "fp32", False

    def __init__(self, error: float = 0.0) -> None:
        self.error = error
        self.seen: list[int] = []

    def reason_missing(self) -> str | None:
        return None

    def prepare(self, a: Any, b: Any, threads: int) -> Any:
        def multiply() -> Any:
            self.seen.append(b.ctypes.data)
            return (a @ b + np.float32(self.error)).astype(np.float32)

        return multiply


def test_a_version_is_checked_and_timed() -> None:
    products = TimedProducts(CASE, 3)
    checked = products.add_version("naive", NAIVE.load())
    assert checked.fault is None and not checked.packed_ahead
    assert 0 < (checked.error_of_bound or 0) <= 1
    assert products.sample("naive", 4, warm_up=True) > 0
    assert products.check_again("naive").fault is None
    products.close()


def test_a_wrong_rival_is_found_after_a_right_version() -> None:
    products = TimedProducts(CASE, 1)
    products.add_version("naive", NAIVE.load())
    assert products.add_rival("numpy", NumPy()).fault is None
    assert "C[0][0]" in (products.add_rival("off", NumPy(0.01)).fault or "")
    assert "nan where" in (products.add_rival("none", NumPy(np.nan)).fault or "")


def test_matrices_take_turns() -> None:
    products = TimedProducts(CASE, 3)
    rival = NumPy()
    products.add_rival("numpy", rival)
    rival.seen.clear()
    products.sample("numpy", 6, warm_up=False)
    assert len(set(rival.seen)) == 3
    assert all(one != other for one, other in zip(rival.seen, rival.seen[1:], strict=False))


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
