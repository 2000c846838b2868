"""Why a device did nothing: the host was late, it waited on communication, or neither.

A gap ends with the start of a kernel (copy, fill), and the call that launched it tells the cause:

- host: the call began after the device fell idle, so that nothing was queued;
- communication: the call came in time, but for more than half of the gap another device was in a
  collective or copied to a peer, or a stream waited for an event; or the call came late because
  the host itself sat in a collective (gloo);
- other: the call came in time. What remains is the delay from kernel to kernel, and launches that
  the trace does not show.
"""

import numpy as np
from numpy.typing import NDArray

from topout.records.trace import IdleCause, IdleTime
from topout.trace.analysis.device_work import DeviceWork
from topout.trace.analysis.intervals import Intervals, gaps, nothing
from topout.trace.analysis.launches import UNKNOWN, Launches

NO_LAUNCHES = (
    "The trace holds no launch calls of the host (nvprof and a GPU trace alone do not), so that "
    "idle time cannot be told apart by cause."
)
_HALF = 2


def idle_times(
    work: DeviceWork,
    launches: Launches,
    *,
    elsewhere: Intervals | None = None,
    on_host: Intervals | None = None,
) -> list[IdleTime]:
    """Idle time of a device between its first and last event, by cause, the longest first.

    `elsewhere`: when other devices communicated or a stream of this one waited for an event;
    `on_host`: when the host itself was in a collective. Empty where the trace has no launches
    that belong to the device's work: NO_LAUNCHES is the reason.
    """
    open_ = gaps(work.busy, work.begin_ns, work.end_ns)
    if not len(open_) or not has_launches(work, launches):
        return []
    causes = _causes(work, launches, open_, elsewhere or nothing(), on_host or nothing())
    lengths = open_.ends - open_.starts
    total = int(lengths.sum())
    found: list[IdleTime] = []
    names: tuple[IdleCause, ...] = ("host", "communication", "other")
    for number, cause in enumerate(names):
        chosen = causes == number
        if chosen.any():
            length = int(lengths[chosen].sum())
            found.append(
                IdleTime(
                    cause=cause,
                    gaps=int(chosen.sum()),
                    total_s=length / 1e9,
                    share=length / total,
                )
            )
    return sorted(found, key=lambda each: -each.total_s)


def has_launches(work: DeviceWork, launches: Launches) -> bool:
    """Whether any work of the device can be joined to the call that launched it."""
    return bool((launches.find(work.correlations, work.processes) != UNKNOWN).any())


def _causes(
    work: DeviceWork,
    launches: Launches,
    open_: Intervals,
    elsewhere: Intervals,
    on_host: Intervals,
) -> NDArray[np.int64]:
    """0 host, 1 communication, 2 other, for each gap."""
    # The busy time after a gap begins with the first event that starts there.
    following = np.searchsorted(work.starts, open_.ends, side="left")
    calls = launches.find(work.correlations[following], work.processes[following])
    late = (calls != UNKNOWN) & (launches.starts[np.maximum(calls, 0)] > open_.starts)
    lengths = open_.ends - open_.starts
    others_busy = elsewhere.covered_in(open_.starts, open_.ends) * _HALF > lengths
    host_busy = on_host.covered_in(open_.starts, open_.ends) * _HALF > lengths
    waited = np.where(late, host_busy, others_busy)
    causes: NDArray[np.int64] = np.where(waited, 1, np.where(late, 0, 2))
    return causes
