"""The seam between Python and C++: every native function with its types, and nothing else.

Calls release the interpreter's lock. Those that measure take at most half a second, so that an
interrupt is answered between two of them.
"""

import ctypes
import functools
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topout.errors import InputError, UnsupportedError
from topout.kernels.build import Abi, declare, load_library
from topout.measure.process import Closing

PeakDtype = Literal["fp32", "bf16", "int8"]
_DTYPE_CODES: dict[PeakDtype, int] = {"fp32": 0, "bf16": 1, "int8": 2}
GRAIN_BYTES = 4096  # sizes of read buffers are multiples of it
_LONGEST_CALL_S = 0.5
_FILL_BYTES = 64 << 20  # of one thread in one call

_int, _size, _long, _double, _pointer = (
    ctypes.c_int,
    ctypes.c_size_t,
    ctypes.c_int64,
    ctypes.c_double,
    ctypes.c_void_p,
)
_double_out = ctypes.POINTER(ctypes.c_double)
# name: (result, arguments), as in src/ceilings.cpp
_CEILINGS_ABI: Abi = {
    "topout_empty": (_int, []),
    "topout_team_create": (_pointer, [_int, ctypes.POINTER(_int), _int]),
    "topout_team_destroy": (None, [_pointer]),
    "topout_team_pinned": (_int, [_pointer]),
    "topout_barrier_time": (_double, [_pointer, _int]),
    "topout_fork_join_time": (_double, [_pointer, _int]),
    "topout_peak_name": (ctypes.c_char_p, [_int]),
    "topout_peak_shape": (_int, [_int, ctypes.POINTER(_long)]),
    "topout_accumulate": (_int, [_int, _pointer, _pointer, _pointer, _long]),
    "topout_compute_trial": (_int, [_pointer, _int, _double, _double_out, _double_out]),
    "topout_sum": (_long, [_pointer, _size, _int, _size]),
    "topout_buffers_create": (_pointer, [_pointer, _size, _int]),
    "topout_buffers_destroy": (None, [_pointer]),
    "topout_buffers_fill": (_int, [_pointer, _size, _size]),
    "topout_buffers_data": (_pointer, [_pointer, _int]),
    "topout_read_trial": (_int, [_pointer, _size, _int, _size, _double, _double_out]),
}
# The same, as in src/examples.cpp
_EXAMPLES_ABI: Abi = {
    "topout_fill_doubles": (None, [_pointer, _pointer, _long, _long, ctypes.c_uint64]),
    "topout_axpy": (_double, [_pointer, _double, _pointer, _pointer, _long, _long]),
    "topout_stencil": (_double, [_pointer, _pointer, _pointer, _long, _long]),
}


@functools.cache
def ceilings_library() -> ctypes.CDLL:
    """The micro-benchmarks, compiled at first use; raises CompilerError."""
    return declare(load_library("ceilings", "ceilings.cpp"), _CEILINGS_ABI)


@functools.cache
def examples_library() -> ctypes.CDLL:
    """The worked examples of the roofline, compiled at first use; raises CompilerError."""
    return declare(load_library("examples", "examples.cpp"), _EXAMPLES_ABI)


def peak_instruction(dtype: PeakDtype) -> str | None:
    """The instruction that sets the arithmetic peak here; None where the CPU has none."""
    name: bytes | None = ceilings_library().topout_peak_name(_DTYPE_CODES[dtype])
    return None if name is None else name.decode()


def kernel_call_time(rounds: int = 20_000) -> float:
    """Seconds of one call of an empty native function, with the loop that makes it (some ns)."""
    empty = ceilings_library().topout_empty
    start = time.perf_counter()
    for _ in range(rounds):
        empty()
    return (time.perf_counter() - start) / rounds


class ComputeTrial(NamedTuple):
    """Operations per second of all threads, and the clock they ran at (Hz)."""

    ops_per_s: float
    clock_hz: float


class ReadPattern(NamedTuple):
    """How memory is walked: streams at a time (1, 2, 4, 8), prefetch distance (0: none)."""

    streams: int
    prefetch_bytes: int


class ThreadTeam(Closing):
    """Native threads, thread i pinned to `cpus[i]` (none: left to the scheduler).

    Close it, or use it in a `with` block. Raises UnsupportedError when the system refuses the
    threads, and CompilerError.
    """

    def __init__(self, threads: int, cpus: Sequence[int] = ()) -> None:
        if threads < 1:
            raise InputError(f"{threads} threads.", "Ask for one thread or more.")
        self.threads = threads
        self._library = ceilings_library()
        numbers = (ctypes.c_int * len(cpus))(*cpus)
        self._handle = self._library.topout_team_create(threads, numbers, len(cpus))
        if not self._handle:
            raise UnsupportedError(
                f"the system refused {threads} threads.", "Raise `ulimit -u`, or ask for fewer."
            )

    @property
    def handle(self) -> int:
        """The native team; raises InputError once it is closed."""
        if not self._handle:
            raise InputError("the thread team is closed.", "Use it inside its `with` block.")
        return int(self._handle)

    @property
    def pinned_threads(self) -> int:
        """How many threads the system let us pin."""
        return int(self._library.topout_team_pinned(self.handle))

    def compute(self, dtype: PeakDtype, seconds: float) -> ComputeTrial:
        """Run the peak arithmetic of `dtype` on all threads; int8 counts OP, others FLOP."""
        rate, clock_hz = ctypes.c_double(), ctypes.c_double()
        status = self._library.topout_compute_trial(
            self.handle,
            _DTYPE_CODES[dtype],
            min(seconds, _LONGEST_CALL_S),
            ctypes.byref(rate),
            ctypes.byref(clock_hz),
        )
        if status != 0:
            raise UnsupportedError(f"this CPU has no {dtype} dot product.", "Use fp32.")
        return ComputeTrial(rate.value, clock_hz.value)

    def barrier_time(self, rounds: int = 1000) -> float:
        """Seconds of one spin barrier among all threads."""
        return float(self._library.topout_barrier_time(self.handle, rounds))

    def fork_join_time(self, rounds: int = 200) -> float:
        """Seconds to wake the sleeping threads for an empty job and to see it done."""
        return float(self._library.topout_fork_join_time(self.handle, rounds))

    def close(self) -> None:
        """End the threads."""
        if self._handle:
            self._library.topout_team_destroy(self._handle)
            self._handle = None


class ReadBuffers(Closing):
    """Memory to read, `bytes_per_thread` for each thread of `team`, first touched by it.

    Filled with random non-zero data; `huge_pages` asks for huge pages, or for none. Close it
    before the team. Raises UnsupportedError when there is not enough memory.
    """

    def __init__(self, team: ThreadTeam, bytes_per_thread: int, huge_pages: bool) -> None:
        self.bytes_per_thread = max(GRAIN_BYTES, bytes_per_thread // GRAIN_BYTES * GRAIN_BYTES)
        self._team = team
        self._library = ceilings_library()
        self._handle = self._library.topout_buffers_create(
            team.handle, self.bytes_per_thread, int(huge_pages)
        )
        if not self._handle:
            raise UnsupportedError(
                f"no memory for {team.threads} × {self.bytes_per_thread} bytes.",
                "Ask for a smaller working set.",
            )
        try:
            for at in range(0, self.bytes_per_thread, _FILL_BYTES):
                part = min(_FILL_BYTES, self.bytes_per_thread - at)
                self._library.topout_buffers_fill(self._handle, at, part)
        except BaseException:
            self.close()
            raise

    def read(self, bytes_per_thread: int, pattern: ReadPattern, seconds: float) -> float:
        """Bytes per second at which all threads read the first bytes of their own memory."""
        rate = ctypes.c_double()
        status = self._library.topout_read_trial(
            self._open_handle(),
            max(GRAIN_BYTES, bytes_per_thread // GRAIN_BYTES * GRAIN_BYTES),
            pattern.streams,
            pattern.prefetch_bytes,
            min(seconds, _LONGEST_CALL_S),
            ctypes.byref(rate),
        )
        if status != 0:
            raise InputError(
                f"cannot read {bytes_per_thread} of {self.bytes_per_thread} bytes in {pattern}.",
                "Ask for 1, 2, 4 or 8 streams inside the buffer.",
            )
        return rate.value

    def address(self, thread: int) -> int:
        """Where the memory of one thread begins."""
        if not 0 <= thread < self._team.threads:
            raise InputError(f"thread {thread} of {self._team.threads}.", "Count from 0.")
        return int(self._library.topout_buffers_data(self._open_handle(), thread))

    def _open_handle(self) -> int:
        """The native buffers; raises InputError once they or their team are closed."""
        if not self._handle or not self._team.handle:
            raise InputError("the read buffers are closed.", "Use them inside their `with` block.")
        return int(self._handle)

    def close(self) -> None:
        """Give the memory back."""
        if self._handle:
            self._library.topout_buffers_destroy(self._handle)
            self._handle = None


Doubles = NDArray[np.float64]


def fill_doubles(team: ThreadTeam, data: Doubles, seed: int) -> None:
    """Random doubles of 0.5 to 1.5; each thread is the first to touch its share of `data[i]`.

    Shares are whole items of the first axis. Raises InputError for an array that is not of
    doubles in one piece.
    """
    items, address = len(data), _address(data)
    examples_library().topout_fill_doubles(
        team.handle, address, items, data.size // max(1, items), seed
    )


def axpy_seconds(team: ThreadTeam, a: float, x: Doubles, y: Doubles, passes: int) -> float:
    """Seconds of `passes` of y ← y ± a·x on all threads; + comes first, the signs alternate.

    Raises InputError unless x and y are vectors of equally many doubles.
    """
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"axpy of shapes {x.shape} and {y.shape}.", "Give two equal vectors.")
    library, addresses = examples_library(), (_address(x), _address(y))
    return float(library.topout_axpy(team.handle, a, *addresses, x.size, passes))


def stencil_seconds(team: ThreadTeam, grid: Doubles, out: Doubles, passes: int) -> float:
    """Seconds of `passes` of the mean over each inner point of `grid` and its six neighbours.

    Raises InputError unless both are equal cubes of doubles with a border of one point.
    """
    side = grid.shape[0] if grid.ndim == 3 else 0
    if grid.shape != (side,) * 3 or grid.shape != out.shape or side < 3:
        raise InputError(
            f"stencil of shapes {grid.shape} and {out.shape}.", "Give two equal cubes, 3 or wider."
        )
    library, addresses = examples_library(), (_address(grid), _address(out))
    return float(library.topout_stencil(team.handle, *addresses, side - 2, passes))


def _address(data: Doubles) -> int:
    if data.dtype != np.float64 or not data.flags.c_contiguous or not data.flags.writeable:
        raise InputError(
            f"an array of {data.dtype}, strides {data.strides}.", "Give doubles in one piece."
        )
    return int(data.ctypes.data)
