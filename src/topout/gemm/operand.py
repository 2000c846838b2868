"""A matrix with a stride between two guard pages, as an operand of a product under test."""

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from topout.gemm.guarded import GuardedMemory, Place
from topout.measure.lifetime import Closing

Matrix = NDArray[Any]


class Layout(NamedTuple):
    """Where a matrix lies: flush with a guard page or away from it, with gaps after its rows."""

    place: Place = "end"
    offset: int = 0  # elements from an address that is a multiple of 64, in the middle
    gap: int = 0  # elements between the end of a row and the next one


class Operand(Closing):
    """rows × columns of `dtype` in memory of its own; the gaps belong to nobody.

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
