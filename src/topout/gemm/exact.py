"""The exact product to compare with: some rows in fp64, or every element in whole numbers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topout.gemm.bounds import (
    Comparison,
    allowed_after_bf16_output,
    allowed_error,
    compare,
)
from topout.gemm.inputs import as_doubles
from topout.records.gemm import GemmDtype

Matrix = NDArray[Any]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
_BLOCK_ELEMENTS = 1 << 22  # of a matrix that is converted at a time
_REFERENCE_FLOPS = 2e9  # in fp64, of the sampled rows
_LEAST_ROWS = 4


class ExactRows(NamedTuple):
    """Rows of a product in fp64, and how far a result may lie from them."""

    rows: NDArray[np.int64]
    exact: Doubles
    allowed: Doubles

    def compare(self, found: Matrix) -> Comparison:
        """The whole result's rows against these; bf16 results (uint16) may be rounded once more."""
        rows, allowed = found[self.rows], self.allowed
        if found.dtype == np.uint16:
            allowed = allowed_after_bf16_output(self.exact, allowed)
            return compare(as_doubles(rows), self.exact, allowed, self.rows)
        return compare(rows, self.exact, allowed, self.rows)


def sampled_rows(m: int, n: int, k: int, random: np.random.Generator) -> NDArray[np.int64]:
    """All rows of a small product; of a large one the first, the last and some between."""
    affordable = max(_LEAST_ROWS, int(_REFERENCE_FLOPS / max(1, 4 * n * k)))
    if m <= affordable:
        return np.arange(m)
    between = random.choice(np.arange(1, m - 1), affordable - 2, replace=False)
    return np.sort(np.concatenate([[0, m - 1], between]))


def exact_rows(a: Matrix, b: Matrix, rows: NDArray[np.int64], dtype: GemmDtype) -> ExactRows:
    """Rows of A·B, and of |A||B| for the bound, in fp64; A and B in the type of the inputs."""
    left = as_doubles(a[rows])
    k, n = b.shape
    exact, magnitude = np.zeros((len(rows), n)), np.zeros((len(rows), n))
    step = max(1, _BLOCK_ELEMENTS // max(1, k))
    for j in range(0, n, step):
        right = as_doubles(b[:, j : j + step])
        with np.errstate(invalid="ignore"):
            exact[:, j : j + step] = left @ right
            magnitude[:, j : j + step] = np.abs(left) @ np.abs(right)
    return ExactRows(rows, exact, allowed_error(magnitude, k, dtype))


class WholeNumberProduct:
    """C = A·B in whole numbers, of which every element of a result is checked exactly.

    After Freivalds (1977): C·x = A·(B·x) for a random x, modulo 2^64, in O(mk + kn + mn). All x
    are odd, so that one wrong element of a row is always found, and several but for a chance of
    about 2^-63.
    """

    def __init__(
        self, a: NDArray[np.int8], b: NDArray[np.int8], random: np.random.Generator
    ) -> None:
        self._a, self._b = a, b
        n = b.shape[1]
        halves: Integers = random.integers(-(2**62), 2**62, (n,), dtype=np.int64)
        self._x = 2 * halves + 1
        self._expected = _times(a, _times(b, self._x))

    def fault_of(self, c: Matrix, first_row: int = 0) -> str | None:
        """What is wrong with `c`, rows of the result from `first_row` on; None if nothing is."""
        wrong = np.zeros(len(c), dtype=bool)
        step = max(1, _BLOCK_ELEMENTS // max(1, c.shape[1]))
        for i in range(0, len(c), step):
            block = c[i : i + step]
            with np.errstate(invalid="ignore"):
                whole = block.astype(np.int64)
            expected = self._expected[first_row + i : first_row + i + len(block)]
            wrong[i : i + step] = (whole != block).any(axis=1) | (whole @ self._x != expected)
        if not wrong.any():
            return None
        row = int(wrong.argmax())
        mismatch = self._compare_row(c[row], first_row + row).mismatch
        return f"{int(wrong.sum())} of {len(c)} rows are wrong; in the first of them {mismatch}"

    def _compare_row(self, found: Matrix, row: int) -> Comparison:
        factors = self._a[row].astype(np.int64)
        exact = _times(self._b.T, factors).astype(np.float64)
        return compare(found[None], exact[None], None, np.array([row]))


def _times(matrix: NDArray[np.int8], vector: Integers) -> Integers:
    """matrix · vector modulo 2^64, without a copy of the whole matrix in 64 bits."""
    rows, columns = matrix.shape
    product = np.zeros(rows, dtype=np.int64)
    step = max(1, _BLOCK_ELEMENTS // max(1, columns))
    for i in range(0, rows, step):
        product[i : i + step] = matrix[i : i + step].astype(np.int64) @ vector
    return product
