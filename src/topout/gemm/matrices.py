"""The matrices of a product under test: their values, and memory that guards them.

The memory lies between two pages without access rights, so that the processor catches a version
that reads or writes outside of its matrices.
"""

import ctypes
import math
import mmap
import os
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import DTypeLike, NDArray

from topout.errors import UnsupportedError
from topout.measure.process import Closing
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
Place = Literal["start", "middle", "end"]
MARGIN_BYTES = 4096  # on either side of what lies in the middle between guard pages
_CACHE_LINE_BYTES = 64
_SMALL = 7  # more tell no more apart; 7·7·k < 2^24, exact in fp32, up to k of 342 thousand
_FULL_RANGE_TERMS = 2**31 // (128 * 128)
_ELEMENTS_AT_A_TIME = 1 << 24
_NO_ACCESS = 0


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


class GuardedMemory(Closing):
    """At least `size_bytes` of memory with a guard page before it and one after it.

    A read or write of either page ends the process with SIGSEGV (SIGBUS on macOS). Use it in a
    `with` block; arrays in it are gone afterwards. Raises UnsupportedError when the system
    refuses the pages.
    """

    def __init__(self, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        self.size_bytes = -(-max(1, size_bytes + 2 * MARGIN_BYTES) // page) * page
        self._memory = mmap.mmap(-1, self.size_bytes + 2 * page)
        self._hold = ctypes.c_char.from_buffer(self._memory)
        first = ctypes.addressof(self._hold)
        self.start = first + page
        self.end = self.start + self.size_bytes
        try:
            _protect(first, page, _NO_ACCESS)
            _protect(self.end, page, _NO_ACCESS)
        except UnsupportedError:
            self.close()
            raise

    def address(self, size_bytes: int, place: Place, offset_bytes: int = 0) -> int:
        """Where `size_bytes` begin that lie flush with a guard page, or away from both.

        In the middle `offset_bytes` move it from an address that is a multiple of 64.
        """
        assert size_bytes + offset_bytes + 2 * MARGIN_BYTES <= self.size_bytes
        if place == "start":
            return self.start
        if place == "end":
            return self.end - size_bytes
        return self.start + MARGIN_BYTES + offset_bytes

    def array(self, address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The memory from `address` on, as an array in one piece."""
        count = int(np.prod(shape))
        offset = address - self.start + mmap.PAGESIZE
        return np.frombuffer(self._memory, dtype=dtype, count=count, offset=offset).reshape(shape)

    def close(self) -> None:
        """Give the memory back; the guards become ordinary pages again until it is gone."""
        page = mmap.PAGESIZE
        for guard in (self.start - page, self.end):
            _protect(guard, page, mmap.PROT_READ | mmap.PROT_WRITE)
        del self._hold
        try:
            self._memory.close()
        except BufferError:
            return  # an array still looks at it, and it goes with the array


def _protect(address: int, size_bytes: int, protection: int) -> None:
    """mprotect(2); raises UnsupportedError when the system refuses."""
    function = ctypes.CDLL(None, use_errno=True).mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if function(address, size_bytes, protection) != 0:
        raise UnsupportedError(
            f"the system refuses guard pages ({os.strerror(ctypes.get_errno())}).",
            "Allow mprotect, or compare the versions elsewhere.",
        )


class Layout(NamedTuple):
    """Where a matrix lies: flush with a guard page or away from it, with gaps after its rows."""

    place: Place = "end"
    offset: int = 0  # elements from an address that is a multiple of 64, in the middle
    gap: int = 0  # elements between the end of a row and the next one


class Operand(Closing):
    """rows × columns of `dtype` in memory of its own, with gaps between the rows.

    Use it in a `with` block. Raises UnsupportedError when the system refuses guard pages.
    """

    def __init__(self, rows: int, columns: int, dtype: type[np.generic], layout: Layout) -> None:
        item = np.dtype(dtype).itemsize
        self.stride = columns + layout.gap
        # No gap behind the last row: what comes there is the guard page.
        span = (rows - 1) * self.stride + columns if rows and columns else 0
        self._memory = GuardedMemory((span + layout.offset) * item)
        self.address = self._memory.address(span * item, layout.place, layout.offset * item)
        self.end = self.address + span * item
        self.everything = self._memory.array(self.address, (span,), dtype)
        strides = (self.stride * item, item)
        self.values = as_strided(self.everything, (rows, columns), strides)

    def row_address(self, row: int) -> int:
        """Where a row begins."""
        return self.address + row * self.stride * self.everything.itemsize

    def gaps(self) -> Matrix:
        """Copies of the elements between the rows."""
        outside = np.ones(self.everything.size, dtype=bool)
        as_strided(outside, self.values.shape, (self.stride, 1))[...] = False
        return self.everything[outside]

    def close(self) -> None:
        """Give the memory back."""
        del self.everything, self.values
        self._memory.close()
