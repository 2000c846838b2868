"""A version under test: called between guard pages, and its result compared.

Small products of every kind come first; at a shape of the user's every element is checked exactly.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topout.gemm.bounds import Comparison, allowed_error, compare
from topout.gemm.case import Case
from topout.gemm.matrices import (
    INPUT_TYPES,
    OUTPUT_TYPES,
    POISON,
    Layout,
    Matrix,
    Operand,
    as_doubles,
    encoded,
    poison,
    random_values,
    whole_numbers,
)
from topout.kernels.gemm_ops import GemmLibrary
from topout.measure.process import Closing
from topout.records.gemm import GemmDtype

# Told before each call: which product it is, and where A, B and C begin and end.
Note = Callable[[str, Mapping[str, tuple[int, int]]], None]

_FUNCTIONS = {False: "gemm", True: "gemm_packed"}  # by whether B is packed beforehand
_PLAIN = Layout("middle")
_START = Layout("start")
_END = Layout("end")
_STRIDED = Layout("middle", offset=1, gap=3)
_STRIDED_TO_THE_END = Layout("end", gap=5)
_LAYOUTS = (_PLAIN, _END, _START, _STRIDED, _STRIDED_TO_THE_END)
# Nothing, one of each, tails of vectors and tiles, more than a block of k.
_SIZES = (
    (1, 1, 1),
    (2, 3, 5),
    (0, 5, 3),
    (5, 0, 3),
    (5, 3, 0),
    (1, 33, 17),
    (17, 1, 33),
    (7, 9, 1),
    (6, 64, 8),
    (33, 65, 129),
    (53, 141, 261),
)
_LARGE_NUMBER = np.float32(1e38).view(np.uint32)
_SPECIAL_SIZE, _EXTREME_SIZE = (7, 35, 19), (5, 70, 67)
# Below so many operations nothing is tried on few rows first.
_AT_ONCE_FLOPS = 1 << 27
_PILOT_ROWS_PER_THREAD = 8
_BLOCK_ELEMENTS = 1 << 22  # of a matrix that is converted at a time
Integers = NDArray[np.int64]


class Situation(NamedTuple):
    """A small product: its size, how its matrices lie, and what is in them."""

    m: int
    n: int
    k: int
    layout: Layout
    data: str  # "random", "whole numbers", "NaN and Inf", "extremes"

    def __str__(self) -> str:
        size = f"{self.m}x{self.n}x{self.k} ({self.data})"
        if self.layout.gap:
            strides = [columns + self.layout.gap for columns in (self.k, self.n, self.n)]
            return f"{size} with lda, ldb, ldc = {strides[0]}, {strides[1]}, {strides[2]}"
        return size


def situations(dtype: GemmDtype) -> list[Situation]:
    """All that a version must get right before it is tried at a shape of the user's."""
    found = [
        Situation(*size, layout, "whole numbers" if i % 2 else "random")
        for size in _SIZES
        for i, layout in enumerate(_LAYOUTS)
    ]
    # Every value of an input must reach its row or column, and no other.
    special = "extremes" if dtype == "int8" else "NaN and Inf"
    size = _EXTREME_SIZE if dtype == "int8" else _SPECIAL_SIZE
    return [*found, Situation(*size, _PLAIN, special), Situation(*size, _STRIDED, special)]


def first_fault(library: GemmLibrary, threads: int, note: Note) -> str | None:
    """What is wrong with the first small product that is, in words; None when all are right.

    What touches a guard page ends this process: `note` is told of each product beforehand.
    """
    for number, situation in enumerate(situations(library.dtype)):
        random = np.random.default_rng(number)
        for packed in _ways(library):
            fault = _fault_in(library, situation, threads, packed, note, random)
            if fault is not None:
                return f"{_FUNCTIONS[packed]} at {situation}: {fault}"
    return None


def _ways(library: GemmLibrary) -> tuple[bool, ...]:
    """Whether B is packed beforehand, in each way that a library offers."""
    return (False, True) if library.offers_packing else (False,)


class _Operands(Closing):
    """A [m×k], B [k×n] and C [m×n] of one data type, each between guard pages of its own."""

    def __init__(self, m: int, n: int, k: int, dtype: GemmDtype, layout: Layout) -> None:
        self._m, self._n, self._k = m, n, k
        with ExitStack() as stack:
            self.a = stack.enter_context(Operand(m, k, INPUT_TYPES[dtype], layout))
            self.b = stack.enter_context(Operand(k, n, INPUT_TYPES[dtype], layout))
            self.c = stack.enter_context(Operand(m, n, OUTPUT_TYPES[dtype], layout))
            self._held = stack.pop_all()

    def close(self) -> None:
        """Give the memory back."""
        self._held.close()

    def regions(self, rows: int) -> dict[str, tuple[int, int]]:
        """Where each begins and ends, of A and C the last `rows` rows."""
        first = self._m - rows
        return {
            "A": (self.a.row_address(first), self.a.end),
            "B": (self.b.address, self.b.end),
            "C": (self.c.row_address(first), self.c.end),
        }

    def multiply(self, library: GemmLibrary, rows: int, threads: int, packed: bool) -> None:
        """C ← A · B for the last `rows` rows of A and C, with B packed beforehand if `packed`."""
        a, b, c, n, k, first = self.a, self.b, self.c, self._n, self._k, self._m - rows
        left, result = a.row_address(first), c.row_address(first)
        if not packed:
            library.multiply(
                left, b.address, result, rows, n, k, a.stride, b.stride, c.stride, threads
            )
            return
        with library.pack(b.address, n, k, b.stride, threads) as ready:
            library.multiply_packed(left, ready, result, rows, n, k, a.stride, c.stride, threads)


def _fault_in(
    library: GemmLibrary,
    situation: Situation,
    threads: int,
    packed: bool,
    note: Note,
    random: np.random.Generator,
) -> str | None:
    m, n, k, layout, _ = situation
    dtype = library.dtype
    left, right = _contents(situation, dtype, random)
    with _Operands(m, n, k, dtype, layout) as operands:
        a, b, c = operands.a, operands.b, operands.c
        # What lies between the rows must not reach the result: it is no number, or an extreme.
        for operand, values in ((a, left), (b, right)):
            operand.everything[...] = _gap_value(dtype)
            operand.values[...] = values
        # What was in C before must not matter, be it a number or none.
        before = _LARGE_NUMBER if situation.data == "whole numbers" else POISON
        c.everything.view(np.uint32).fill(before)
        note(str(situation), operands.regions(m))
        operands.multiply(library, m, threads, packed)
        if not (
            np.array_equal(a.values, left, equal_nan=dtype == "fp32")
            and np.array_equal(b.values, right, equal_nan=dtype == "fp32")
        ):
            return "it wrote to A or B, which are constant"
        if (c.gaps().view(np.uint32) != before).any():
            return "it wrote between the rows of C: ldc counts elements from one row to the next"
        return _mismatch(c.values, left, right, situation, dtype)


def _mismatch(
    found: Matrix, left: Matrix, right: Matrix, situation: Situation, dtype: GemmDtype
) -> str | None:
    a, b = as_doubles(left), as_doubles(right)
    with np.errstate(invalid="ignore"):
        # Not by a BLAS, which may skip zeros and so lose a NaN.
        exact = np.einsum("ik,kj->ij", a, b)
        magnitude = np.einsum("ik,kj->ij", np.abs(a), np.abs(b))
        allowed = (
            None
            if situation.data == "whole numbers"
            else allowed_error(magnitude, situation.k, dtype)
        )
    mismatch = compare(found, exact, allowed, np.arange(situation.m)).mismatch
    return None if mismatch is None else str(mismatch)


def _contents(
    situation: Situation, dtype: GemmDtype, random: np.random.Generator
) -> tuple[Matrix, Matrix]:
    """A and B in the type in which a version reads them."""
    m, n, k = situation[:3]
    shapes = ((m, k), (k, n))
    if situation.data == "whole numbers":
        left, right = (encoded(whole_numbers(*shape, dtype, k, random), dtype) for shape in shapes)
        return left, right
    if situation.data == "extremes":
        low = np.iinfo(np.int8).min
        return np.full((m, k), low, np.int8), np.full((k, n), low, np.int8)
    left, right = (random_values(*shape, dtype, random) for shape in shapes)
    if situation.data == "NaN and Inf":
        values = as_doubles(left).astype(np.float32), as_doubles(right).astype(np.float32)
        values[0][1, 2], values[0][m - 1, k - 1], values[0][2, 0] = np.nan, np.inf, -np.inf
        values[0][3, 4] = 0.0  # times infinity it is not a number
        values[1][4, 3], values[1][k - 1, n - 1], values[1][0, n - 2] = np.inf, np.nan, -np.inf
        left, right = encoded(values[0], dtype), encoded(values[1], dtype)
    return left, right


def _gap_value(dtype: GemmDtype) -> Any:
    if dtype == "int8":
        return np.int8(127)
    return encoded(np.full((1, 1), np.nan, np.float32), dtype)[0, 0]


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


class ShapeVerdict(NamedTuple):
    """What is wrong with a product, or how long it would take where that is too long."""

    fault: str | None = None
    too_slow_s: float | None = None


class ShapeTrial(Closing):
    """Whole numbers at one shape, their matrices flush with the guard pages behind them.

    Use it in a `with` block; it serves one version after the other.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        m, n, k, dtype = case.m, case.n, case.k, case.dtype
        random = np.random.default_rng([m, n, k])
        left, right = (whole_numbers(*shape, dtype, k, random) for shape in ((m, k), (k, n)))
        self._product = WholeNumberProduct(left, right, random)
        self._operands = _Operands(m, n, k, dtype, Layout())
        self._operands.a.values[...] = encoded(left, dtype)
        self._operands.b.values[...] = encoded(right, dtype)

    def check(self, library: GemmLibrary, note: Note, longest_s: float) -> ShapeVerdict:
        """Multiply and compare; a few rows first where that may take longer than `longest_s`."""
        for packed in _ways(library):
            verdict = self._check(library, packed, note, longest_s)
            if verdict != ShapeVerdict():
                fault = verdict.fault and f"{_FUNCTIONS[packed]} at {self.case}: {verdict.fault}"
                return verdict._replace(fault=fault)
        return ShapeVerdict()

    def _check(
        self, library: GemmLibrary, packed: bool, note: Note, longest_s: float
    ) -> ShapeVerdict:
        predicted_s = self._predicted_s(library, packed, note, longest_s)
        if predicted_s > longest_s:
            return ShapeVerdict(too_slow_s=predicted_s)
        poison(self._operands.c.everything)
        self._seconds_of(library, self.case.m, packed, note)
        return ShapeVerdict(self._product.fault_of(self._operands.c.values))

    def _predicted_s(
        self, library: GemmLibrary, packed: bool, note: Note, longest_s: float
    ) -> float:
        """Seconds of the whole product, from some of its rows; 0 where it is small."""
        m, threads = self.case.m, self.case.threads
        few = min(_PILOT_ROWS_PER_THREAD * threads, m // 4)
        if self.case.flops <= _AT_ONCE_FLOPS or few == 0:
            return 0.0
        few_s = self._seconds_of(library, few, packed, note)
        if few_s * m / few <= longest_s:
            return few_s * m / few
        # What does not grow with the rows, such as packing B, must not be multiplied with them.
        more_s = self._seconds_of(library, 4 * few, packed, note)
        return more_s + max(0.0, more_s - few_s) / (3 * few) * (m - 4 * few)

    def _seconds_of(self, library: GemmLibrary, rows: int, packed: bool, note: Note) -> float:
        """Multiply the last `rows` rows of A into the last ones of C."""
        note(f"{rows}x{self.case.n}x{self.case.k}", self._operands.regions(rows))
        start = time.perf_counter()
        self._operands.multiply(library, rows, self.case.threads, packed)
        return time.perf_counter() - start

    def close(self) -> None:
        """Give the memory back."""
        self._operands.close()
