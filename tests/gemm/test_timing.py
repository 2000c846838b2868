"""Products made ready to be timed are checked first, and each candidate's own result is."""

from typing import Any

import numpy as np

from topout.gemm.case import Case
from topout.gemm.timing import TimedProducts
from topout.kernels.gemm_ops import load_gemm

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
    checked = products.add_version("naive", load_gemm("naive", "fp32"))
    assert checked.fault is None and not checked.packed_ahead
    assert 0 < (checked.error_of_bound or 0) <= 1
    assert products.sample("naive", 4, warm_up=True) > 0
    assert products.check_again("naive").fault is None
    products.close()


def test_a_wrong_rival_is_found_after_a_right_version() -> None:
    products = TimedProducts(CASE, 1)
    products.add_version("naive", load_gemm("naive", "fp32"))
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
