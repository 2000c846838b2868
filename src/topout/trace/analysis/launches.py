"""The calls by which the host launched the work of a device."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.trace.analysis.intervals import Nanoseconds, bounds_of
from topout.trace.table import Trace, matching_names

# cudaStreamSynchronize, cuCtxSynchronize, …, and copies that return only when they are done.
_SYNCHRONISES = (
    r"(?i)synchronize|^(cuda|hip)Memcpy(2D|3D)?(WithStream)?(_v\d+)?$|^cuMemcpy[DH]to[DH]"
)
UNKNOWN = -1  # in place of a correlation, a process, a position


@dataclass(frozen=True)
class Launches:
    """Calls of the runtime that carry a correlation, in the order of `keys`."""

    keys: NDArray[np.int64]  # correlation, told apart by process where there are several
    starts: Nanoseconds
    ends: Nanoseconds
    threads: NDArray[np.int64]
    several_processes: bool

    def __len__(self) -> int:
        return int(self.keys.size)

    def find(
        self, correlations: NDArray[np.int64], processes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Position of the call behind each correlation, UNKNOWN where there is none."""
        if not len(self):
            return np.full(correlations.size, UNKNOWN, np.int64)
        wanted = _key(correlations, processes) if self.several_processes else correlations
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self) - 1)
        found = (self.keys[place] == wanted) & (correlations != UNKNOWN)
        positions: NDArray[np.int64] = np.where(found, place, UNKNOWN)
        return positions

    @cached_property
    def launching_threads(self) -> NDArray[np.int64]:
        """Threads that made any of the calls, ascending."""
        return np.unique(self.threads)


def launches_of(trace: Trace) -> Launches:
    """All runtime calls of the trace that have a correlation; of several with one, the first."""
    calls = trace.events.filter(
        (pl.col("kind") == "runtime") & pl.col("correlation").is_not_null()
    ).select("start_ns", "duration_ns", "correlation", "process", "thread")
    starts, ends = bounds_of(calls)
    processes = calls["process"].fill_null(UNKNOWN).to_numpy()
    correlations = calls["correlation"].to_numpy()
    # Numbers of calls begin anew in each process: Nsight Systems records several in one file.
    device_side = trace.device_work["process"]
    several = np.unique(processes).size > 1 and device_side.null_count() < len(device_side)
    keys = _key(correlations, processes) if several else correlations
    unique, first = np.unique(keys, return_index=True)
    return Launches(
        unique, starts[first], ends[first], calls["thread"].fill_null(0).to_numpy()[first], several
    )


@dataclass(frozen=True)
class HostWaits:
    """Calls that hold the host until the device is through, in the order of their ends."""

    starts: Nanoseconds
    ends: Nanoseconds


def host_waits_of(trace: Trace, launches: Launches) -> HostWaits:
    """Synchronising calls on the threads that launch work.

    Others, such as the thread that pins batches for the loader, do not hold up the launches.
    """
    waiting = matching_names(trace.events, _SYNCHRONISES)
    calls = trace.events.filter(
        (pl.col("kind") == "runtime")
        & pl.col("name").is_in(waiting)
        & pl.col("thread").fill_null(0).is_in(launches.launching_threads.tolist())
    )
    starts, ends = bounds_of(calls)
    order = np.argsort(ends, kind="stable")
    return HostWaits(starts[order], ends[order])


def _key(correlations: NDArray[np.int64], processes: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number of the two: correlations are 32 bits wide, numbers of processes 22."""
    return correlations + (processes.astype(np.int64) << np.int64(40))
