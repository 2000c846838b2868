"""A ceiling measured again in between timed runs, in a few hundredths of a second."""

import contextlib

from topout.kernels.ops import GRAIN_BYTES, PeakDtype, ReadBuffers, ThreadTeam
from topout.machine.describe import pinning_order
from topout.machine.native_ceilings import best_pattern
from topout.measure.lifetime import Closing

_SCREEN_S = 0.004


class BandwidthProbe(Closing):
    """Threads and memory kept ready, so that each look at the ceilings is cheap.

    Holds `working_set_bytes` of memory until it is closed; use it in a `with` block. Raises
    CompilerError without a compiler, UnsupportedError without the memory.
    """

    def __init__(self, threads: int, working_set_bytes: int, huge_pages: bool = True) -> None:
        self._share_bytes = max(GRAIN_BYTES, working_set_bytes // threads)
        with contextlib.ExitStack() as stack:
            self._team = stack.enter_context(ThreadTeam(threads, pinning_order()[:threads]))
            self._buffers = stack.enter_context(
                ReadBuffers(self._team, self._share_bytes, huge_pages)
            )
            self._pattern = best_pattern(self._buffers, self._share_bytes, _SCREEN_S)
            self._held = stack.pop_all()

    def read_bandwidth(self, seconds: float = 0.05) -> float:
        """Bytes per second that all threads together read from the working set now."""
        return self._buffers.read(self._share_bytes, self._pattern, seconds)

    def fma_rate(self, dtype: PeakDtype = "fp32", seconds: float = 0.05) -> float:
        """Operations per second of all threads together now.

        Raises UnsupportedError where the CPU has no instruction for `dtype`.
        """
        return self._team.compute(dtype, seconds).ops_per_s

    def close(self) -> None:
        """Give memory and threads back."""
        self._held.close()


def read_bandwidth_now(threads: int, working_set_bytes: int, seconds: float = 0.05) -> float:
    """Bytes per second read from a working set made for this once; see BandwidthProbe."""
    with BandwidthProbe(threads, working_set_bytes) as probe:
        return probe.read_bandwidth(seconds)


def fma_rate_now(dtype: PeakDtype, threads: int, seconds: float = 0.05) -> float:
    """Operations per second of `threads` threads; raises UnsupportedError, CompilerError."""
    with ThreadTeam(threads, pinning_order()[:threads]) as team:
        return team.compute(dtype, seconds).ops_per_s
