"""One product under test: called between guard pages, and its result compared."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topout.gemm.bounds import allowed_error, compare
from topout.gemm.inputs import (
    INPUT_TYPES,
    OUTPUT_TYPES,
    POISON,
    as_doubles,
    encoded,
    random_values,
    whole_numbers,
)
from topout.gemm.operand import Layout, Operand
from topout.kernels.gemm_ops import GemmLibrary
from topout.records.gemm import GemmDtype

Matrix = NDArray[Any]
Doubles = NDArray[np.float64]
# Told before each call: which product it is, and where A, B and C begin and end.
Note = Callable[[str, Mapping[str, tuple[int, int]]], None]

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
        for packed in (False, True) if library.offers_packing else (False,):
            fault = _fault_in(library, situation, threads, packed, note, random)
            if fault is not None:
                how = "gemm_packed" if packed else "gemm"
                return f"{how} at {situation}: {fault}"
    return None


def multiply(
    library: GemmLibrary, a: Operand, b: Operand, c: Operand, threads: int, packed: bool
) -> None:
    """C ← A · B, with B packed beforehand if `packed`."""
    (m, k), n = a.values.shape, b.values.shape[1]
    if not packed:
        library.multiply(
            a.address, b.address, c.address, m, n, k, a.stride, b.stride, c.stride, threads
        )
        return
    with library.pack(b.address, n, k, b.stride, threads) as ready:
        library.multiply_packed(a.address, ready, c.address, m, n, k, a.stride, c.stride, threads)


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
    with ExitStack() as stack:
        a = stack.enter_context(Operand(m, k, INPUT_TYPES[dtype], layout))
        b = stack.enter_context(Operand(k, n, INPUT_TYPES[dtype], layout))
        c = stack.enter_context(Operand(m, n, OUTPUT_TYPES[dtype], layout))
        # What lies between the rows must not reach the result: it is no number, or an extreme.
        for operand, values in ((a, left), (b, right)):
            operand.everything[...] = _gap_value(dtype)
            operand.values[...] = values
        # What was in C before must not matter, be it a number or none.
        before = _LARGE_NUMBER if situation.data == "whole numbers" else POISON
        c.everything.view(np.uint32).fill(before)
        note(
            str(situation),
            {"A": (a.address, a.end), "B": (b.address, b.end), "C": (c.address, c.end)},
        )
        multiply(library, a, b, c, threads, packed)
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
