"""How far a product may lie from the exact one, and the first element that lies further."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topout.gemm.matrices import Doubles, Matrix
from topout.records.gemm import GemmDtype

UNIT_FP32 = 2.0**-24  # half the distance from 1 to the next fp32
UNIT_BF16 = 2.0**-8
SMALLEST_NORMAL = 2.0**-126  # of fp32 and of bf16


class Mismatch(NamedTuple):
    """The first wrong element in the order of rows, and how many there are."""

    row: int
    column: int
    got: float
    expected: float
    allowed: float  # 0: it is to be exact
    wrong: int
    total: int

    def __str__(self) -> str:
        those = f"{self.wrong} of {self.total} elements" if self.total > 1 else "the only element"
        verb = "are" if self.wrong > 1 else "is"
        within = f" ± {self.allowed:.2g}" if self.allowed else ""
        return (
            f"{those} {verb} wrong, first C[{self.row}][{self.column}] = {_figure(self.got)} "
            f"where {_figure(self.expected)}{within} is right"
        )


class Comparison(NamedTuple):
    """The largest error over what is allowed (infinite for one that is not finite)."""

    error_of_bound: float
    mismatch: Mismatch | None


def gamma(terms: int, unit: float = UNIT_FP32) -> float:
    """γ_n = n·u / (1 − n·u), the bound of the relative error of n roundings.

    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1. Raises ValueError
    where n·u is not below 1.
    """
    if terms * unit >= 1:
        raise ValueError(f"no bound holds for {terms} roundings of {unit}")
    return terms * unit / (1 - terms * unit)


def allowed_error(magnitude: Doubles, k: int, dtype: GemmDtype) -> Doubles:
    """The bound |Ĉ − C| ≤ γ_K·(|A||B|), elementwise, for sums of k terms in any order.

    `magnitude` is |A||B|. Products of bf16 are exact in fp32, but the instructions that add pairs
    of them round once more (γ_{K+1}) and flush what is below the normal numbers to zero, at most
    after each multiplication and addition. fp32 loses half a denormal where a product underflows.
    int8 is exact. Higham, section 3.5.
    """
    if dtype == "int8" or k == 0:
        return np.zeros_like(magnitude)
    if dtype == "bf16":
        return gamma(k + 1) * magnitude + 2 * k * SMALLEST_NORMAL
    return gamma(k) * magnitude + k * SMALLEST_NORMAL * UNIT_FP32


def allowed_after_bf16_output(exact: Doubles, allowed: Doubles) -> Doubles:
    """The bound where the product was rounded to bf16 in the end."""
    return allowed + UNIT_BF16 * (np.abs(exact) + allowed)


def compare(found: Matrix, exact: Doubles, allowed: Doubles | None, rows: Matrix) -> Comparison:
    """`found` against the exact product within `allowed` (None: equal); `rows` names its rows.

    Infinities must be those of `exact`, and an element that is not a number must be none there.
    """
    got = found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(got - exact)
    special = ~np.isfinite(exact)
    same = (got == exact) | (np.isnan(got) & np.isnan(exact))
    error[special] = np.where(same[special], 0.0, np.inf)
    error[np.isnan(error)] = np.inf
    bound = np.zeros_like(error) if allowed is None else np.where(special, 0.0, allowed)
    wrong = error > bound
    return Comparison(_largest_ratio(error, bound), _first(wrong, got, exact, bound, rows))


def _largest_ratio(error: Doubles, bound: Doubles) -> float:
    if not error.size:
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / bound)
    return float(ratio.max())


def _first(
    wrong: NDArray[np.bool_], got: Doubles, exact: Doubles, bound: Doubles, rows: Matrix
) -> Mismatch | None:
    count = int(wrong.sum())
    if not count:
        return None
    i, j = (int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))
    return Mismatch(
        row=int(rows[i]),
        column=j,
        got=float(got[i, j]),
        expected=float(exact[i, j]),
        allowed=float(bound[i, j]),
        wrong=count,
        total=wrong.size,
    )


def _figure(value: float) -> str:
    """Nine digits tell two fp32 apart."""
    if not math.isfinite(value) or abs(value) >= 2**53 or value != int(value):
        return f"{value:.9g}"
    return str(int(value))
