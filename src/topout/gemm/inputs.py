"""Matrices for a product in every data type: random, small whole numbers, aligned memory."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topout.records.gemm import GemmDtype

Matrix = NDArray[Any]
Doubles = NDArray[np.float64]
INPUT_TYPES: dict[GemmDtype, type[np.generic]] = {
    "fp32": np.float32,
    "bf16": np.uint16,  # its bits
    "int8": np.int8,
}
OUTPUT_TYPES: dict[GemmDtype, type[np.generic]] = {
    "fp32": np.float32,
    "bf16": np.float32,
    "int8": np.int32,
}
# As a float32 it is not a number, and as an int32 no sum of a few products.
POISON = np.uint32(0xFFC5A5A5)
_CACHE_LINE_BYTES = 64
_SMALL = 7  # more tell no more apart; 7·7·k < 2^24, exact in fp32, up to k of 342 thousand
_FULL_RANGE_TERMS = 2**31 // (128 * 128)
_ELEMENTS_AT_A_TIME = 1 << 24


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16, ties to even; what is not a number stays none."""
    bits = values.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(
        16
    )
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)


def from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The values of bfloat16 bits, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def as_doubles(matrix: Matrix) -> Doubles:
    """The values of a matrix of any of the input and output types, exactly."""
    if matrix.dtype == np.uint16:
        return from_bf16(np.ascontiguousarray(matrix)).astype(np.float64)
    return matrix.astype(np.float64)


def encoded(values: Matrix, dtype: GemmDtype) -> Matrix:
    """Values, each of which `dtype` can hold, in the type in which a version reads them."""
    if dtype == "bf16":
        return to_bf16(np.ascontiguousarray(values, dtype=np.float32))
    return values.astype(INPUT_TYPES[dtype])


def whole_numbers(
    rows: int, columns: int, dtype: GemmDtype, k: int, random: np.random.Generator
) -> NDArray[np.int8]:
    """Whole numbers whose sums of k products are exact in `dtype`'s output in any order.

    For int8 all of its range, where the sums cannot leave int32; else as much as k allows.
    """
    if dtype == "int8" and k < _FULL_RANGE_TERMS:
        return random.integers(-128, 128, (rows, columns), dtype=np.int8)
    largest = max(1, min(_SMALL, math.isqrt((2**24 - 1) // max(1, k))))
    return random.integers(-largest, largest + 1, (rows, columns), dtype=np.int8)


def random_values(rows: int, columns: int, dtype: GemmDtype, random: np.random.Generator) -> Matrix:
    """Normal random numbers, finite and not zero; for int8 all of its range, evenly."""
    if dtype == "int8":
        return random.integers(-128, 128, (rows, columns), dtype=np.int8)
    values = random.standard_normal((rows, columns), dtype=np.float32)
    values[values == 0] = 1.0
    return encoded(values, dtype)


def random_matrix(rows: int, columns: int, dtype: GemmDtype, random: np.random.Generator) -> Matrix:
    """`random_values` in memory that is aligned to a cache line, as PyTorch's is."""
    matrix = aligned_empty(rows, columns, INPUT_TYPES[dtype])
    step = max(1, _ELEMENTS_AT_A_TIME // max(1, columns))
    for i in range(0, rows, step):
        part = matrix[i : i + step]
        part[...] = random_values(len(part), columns, dtype, random)
    return matrix


def aligned_empty(rows: int, columns: int, dtype: type[np.generic]) -> Matrix:
    """A matrix of memory that is not touched yet, aligned to a cache line."""
    item = np.dtype(dtype).itemsize
    size = rows * columns * item
    memory = np.empty(size + _CACHE_LINE_BYTES, dtype=np.uint8)
    skip = -memory.ctypes.data % _CACHE_LINE_BYTES
    return memory[skip : skip + size].view(dtype).reshape(rows, columns)


def poison(output: Matrix) -> None:
    """Fill an output (4-byte elements in one piece) with what no product is."""
    output.view(np.uint32).fill(POISON)
