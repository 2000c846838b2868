"""Memory between two pages that nobody may touch: what leaves it is caught by the processor."""

import ctypes
import mmap
import os
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from topout.errors import UnsupportedError
from topout.measure.lifetime import Closing

Place = Literal["start", "middle", "end"]
MARGIN_BYTES = 4096  # on either side of what lies in the middle
_NO_ACCESS = 0


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
