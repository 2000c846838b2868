"""What a step waited for: why its device idled, and the path that it would have to shorten.

A gap of a device ends with the start of a kernel (copy, fill), and the call that launched it tells
the cause:

- host: the call began after the device fell idle, so that nothing was queued;
- communication: the call came in time, but for more than half of the gap another device was in a
  collective or copied to a peer, or a stream waited for an event; or the call came late because
  the host itself sat in a collective (gloo);
- other: the call came in time. What remains is the delay from kernel to kernel, and launches that
  the trace does not show.

The critical path of a step is followed backwards from the step's last event. A kernel waited for
what ended last before it began: the kernel before it in its stream, a kernel of another stream, or
the host's call that launched it. The host in turn waited where a call of the runtime held it until
the device was through (a synchronisation), and worked otherwise. Each moment of the step belongs
to one part, so that the parts sum to the step's duration.

In a trace of the host alone nothing waits for a device: the step is as long as its thread takes.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topout import units
from topout.records.trace import CriticalPart, IdleCause, IdleTime
from topout.trace.analysis.device_work import UNKNOWN, DeviceWork, HostWaits, Launches
from topout.trace.analysis.groups import COMMUNICATION
from topout.trace.analysis.host_work import HostWork
from topout.trace.analysis.intervals import (
    Intervals,
    gaps,
    nothing,
    overlap,
    union,
    union_of,
)

NO_LAUNCHES = (
    "The trace holds no launch calls of the host (nvprof and a GPU trace alone do not), so that "
    "idle time cannot be told apart by cause."
)
_APART = (
    "Work of the device begins {far} {way} the calls that launched it: the clocks of host and "
    "device disagree, so that causes of idle time and the critical path cannot be told."
)
_LITTLE = 20  # one in so many may begin before its call
_BEFORE_NS = 10**6  # by which clocks are put beside each other at best
_BEHIND_NS = 10**9
_CAUSES: tuple[IdleCause, ...] = ("host", "communication", "other")
_HALF = 2
HOST = "host"
LAUNCH = "launch"  # from the call on the host to the start on the device
BETWEEN = "between kernels"  # queued, and the kernel before was through
LOADING = "data loading"
# A kernel that follows the one before in its stream within this time waited for that one, even
# if another stream's ended in between: such delays are 1 to 5 µs.
_QUEUED_NS = 5_000


def idle_times(
    work: DeviceWork,
    launches: Launches,
    *,
    elsewhere: Intervals | None = None,
    on_host: Intervals | None = None,
) -> list[IdleTime]:
    """Idle time of a device between its first and last event, by cause, the longest first.

    What is unknown, since not all work was recorded, is not idle.

    `elsewhere`: when other devices communicated or a stream of this one waited for an event;
    `on_host`: when the host itself was in a collective. Empty where the trace has no launches
    that belong to the device's work: NO_LAUNCHES is the reason.
    """
    open_ = gaps(union_of(work.busy, work.unknown), work.begin_ns, work.end_ns)
    if not len(open_) or not has_launches(work, launches):
        return []
    causes = _causes(work, launches, open_, elsewhere or nothing(), on_host or nothing())
    lengths = open_.ends - open_.starts
    total = int(lengths.sum())
    found: list[IdleTime] = []
    for number, cause in enumerate(_CAUSES):
        length = int(lengths[causes == number].sum())
        if length:
            count = int((causes == number).sum())
            found.append(
                IdleTime(cause=cause, gaps=count, total_s=length / 1e9, share=length / total)
            )
    return sorted(found, key=lambda each: -each.total_s)


def has_launches(work: DeviceWork, launches: Launches) -> bool:
    """Whether any work of the device can be joined to the call that launched it."""
    return bool((launches.find(work.correlations, work.processes) != UNKNOWN).any())


def clocks_apart(work: DeviceWork, launches: Launches) -> str:
    """Why calls and work cannot be held against each other by time; "" where they can.

    Of one clock little begins before its call, and something soon after it: no queue holds work for
    longer than the device has been working.
    """
    calls = launches.find(work.correlations, work.processes)
    joined = calls != UNKNOWN
    if not joined.any():
        return ""
    delays = work.starts[joined] - launches.starts[calls[joined]]
    place = delays.size // _LITTLE
    early = int(np.partition(delays, place)[place])
    span = work.end_ns - work.begin_ns
    if early < -_BEFORE_NS:
        return _APART.format(far=units.seconds(-early / 1e9), way="before")
    if (least := int(delays.min())) > max(span, _BEHIND_NS):
        return _APART.format(far=units.seconds(least / 1e9), way="after")
    return ""


def _causes(
    work: DeviceWork,
    launches: Launches,
    open_: Intervals,
    elsewhere: Intervals,
    on_host: Intervals,
) -> NDArray[np.int64]:
    """The position in _CAUSES for each gap."""
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


@dataclass(frozen=True)
class HostTime:
    """When the host fetched data and when it was in a collective, to name its part of the path."""

    loading: Intervals
    communication: Intervals


def critical_path(
    work: DeviceWork,
    launches: Launches,
    waits: HostWaits,
    begin_ns: int,
    end_ns: int,
    host: HostTime | None = None,
) -> list[CriticalPart]:
    """Parts of the critical path from `begin_ns` to `end_ns`, the longest first.

    `work` is what the device did then. Parts are groups of kernels, "communication" whatever group
    it is in, "host", "data loading",
    "launch" and "between kernels"; without launches in the trace the path stays on the device.
    """
    calls = launches.find(work.correlations, work.processes)
    before_of = _waited_for(work, launches, calls).tolist()
    starts, ends, call_of = work.starts.tolist(), work.ends.tolist(), calls.tolist()
    call_starts = launches.starts.tolist()
    group_of = [
        COMMUNICATION if communicates else work.group_names[number]
        for number, communicates in zip(
            work.groups.tolist(), work.is_communication.tolist(), strict=True
        )
    ]
    way = _HostWalk(work, waits, begin_ns)
    parts: Counter[str] = Counter()
    now, kernel = end_ns, way.last_until(end_ns)
    if kernel == UNKNOWN or ends[kernel] < end_ns:
        now, kernel = way.back_from(end_ns, len(work))
    while now > begin_ns and kernel != UNKNOWN:
        start = max(min(starts[kernel], now), begin_ns)
        parts[group_of[kernel]] += now - start
        now = start
        if before_of[kernel] != UNKNOWN:
            kernel = before_of[kernel]
            reached = max(min(ends[kernel], now), begin_ns)
            parts[BETWEEN] += now - reached
            now = reached
        else:
            called = call_starts[call_of[kernel]] if call_of[kernel] != UNKNOWN else now
            called = max(min(called, now), begin_ns)
            parts[LAUNCH] += now - called
            now, kernel = way.back_from(called, kernel)
    parts.update(_host_parts(way.stretches, host or HostTime(nothing(), nothing())))
    return _as_parts(parts)


def _as_parts(durations_ns: Mapping[str, int]) -> list[CriticalPart]:
    """The parts that took time, the longest first, with their shares of the whole."""
    total = sum(durations_ns.values())
    ranked = sorted(durations_ns.items(), key=lambda part: (-part[1], part[0]))
    return [
        CriticalPart(name=name, total_s=duration / 1e9, share=duration / total)
        for name, duration in ranked
        if duration > 0
    ]


class _HostWalk:
    """The way back over the host: to where it last waited for the device."""

    def __init__(self, work: DeviceWork, waits: HostWaits, begin_ns: int) -> None:
        self._begin_ns = begin_ns
        self._by_end = np.argsort(work.ends, kind="stable")
        self._ends = work.ends[self._by_end]
        released_by = self._released_by(waits)
        held = released_by != UNKNOWN
        self._wait_ends = waits.ends[held].tolist()
        self._holder = released_by[held].tolist()
        self._kernel_ends = work.ends.tolist()
        self.stretches: list[tuple[int, int]] = []

    def last_until(self, moment_ns: int) -> int:
        """The kernel that ended last until then."""
        place = int(np.searchsorted(self._ends, moment_ns, side="right")) - 1
        return int(self._by_end[place]) if place >= 0 else UNKNOWN

    def back_from(self, now_ns: int, below: int) -> tuple[int, int]:
        """The end of the kernel for which the host last waited, and that kernel.

        Only kernels that began before kernel `below` count, so that the walk comes to an end.
        """
        place = bisect_right(self._wait_ends, now_ns) - 1
        while place >= 0 and self._holder[place] >= below:
            place -= 1
        kernel = self._holder[place] if place >= 0 else UNKNOWN
        reached = self._begin_ns if kernel == UNKNOWN else self._kernel_ends[kernel]
        reached = max(min(reached, now_ns), self._begin_ns)
        self.stretches.append((reached, now_ns))
        return reached, kernel

    def _released_by(self, waits: HostWaits) -> NDArray[np.int64]:
        """For each wait the kernel whose end let the host go on, UNKNOWN where none ran."""
        place = np.searchsorted(self._ends, waits.ends, side="right") - 1
        if not self._ends.size:
            return np.full(place.size, UNKNOWN, np.int64)
        known = np.maximum(place, 0)
        ran = (place >= 0) & (self._ends[known] > waits.starts)
        kernels: NDArray[np.int64] = np.where(ran, self._by_end[known], UNKNOWN)
        return kernels


def _waited_for(
    work: DeviceWork, launches: Launches, calls: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each kernel the one that it waited for, UNKNOWN where it waited for its launch."""
    count = len(work)
    own = np.arange(count, dtype=np.int64)
    in_stream = np.lexsort((own, work.streams))
    same = np.full(count, UNKNOWN, np.int64)
    neighbours = work.streams[in_stream[1:]] == work.streams[in_stream[:-1]]
    same[in_stream[1:]] = np.where(neighbours, in_stream[:-1], UNKNOWN)
    by_end = np.argsort(work.ends, kind="stable")
    place = np.searchsorted(work.ends[by_end], work.starts, side="right") - 1
    latest = np.where(place >= 0, by_end[np.maximum(place, 0)], UNKNOWN)
    # Events without duration end when they start: none may wait for itself or a later one.
    latest = np.where(latest < own, latest, same)
    queued = (same != UNKNOWN) & (work.starts - work.ends[same] <= _QUEUED_NS)
    before = np.where(queued | (latest == UNKNOWN), same, latest)
    if len(launches):
        late = (calls != UNKNOWN) & (launches.starts[calls] > work.ends[before])
        before = np.where(late, UNKNOWN, before)
    return before


def _host_parts(stretches: list[tuple[int, int]], host: HostTime) -> dict[str, int]:
    """Host time on the path by what the host did: it fetched data, was in a collective, worked."""
    if not stretches:
        return {}
    bounds = np.array(stretches, np.int64)
    loading = int(host.loading.covered_in(bounds[:, 0], bounds[:, 1]).sum())
    either = union_of(host.loading, host.communication)
    waiting = int(either.covered_in(bounds[:, 0], bounds[:, 1]).sum()) - loading
    whole = int((bounds[:, 1] - bounds[:, 0]).sum())
    return {LOADING: loading, COMMUNICATION: waiting, HOST: whole - loading - waiting}


def host_critical_path(
    host: HostWork, loading: Intervals, begin_ns: int, end_ns: int
) -> list[CriticalPart]:
    """Parts of the time from `begin_ns` to `end_ns`, the longest first; they sum to it.

    Each moment belongs to the first of these that fits: fetching data, the operator that ran
    innermost in the busiest thread, an operator of another thread, a collective, and the host's
    own work between operators.
    """
    window = gaps(nothing(), begin_ns, end_ns)
    parts: Counter[str] = Counter()
    claimed = nothing()
    for name, intervals in [(LOADING, loading), *_by_thread(host), (COMMUNICATION, host.waits)]:
        more = union_of(claimed, overlap(intervals, window))
        parts[name] += more.covered_ns - claimed.covered_ns
        claimed = more
    parts[HOST] += window.covered_ns - claimed.covered_ns
    return _as_parts(parts)


def _by_thread(host: HostWork) -> list[tuple[str, Intervals]]:
    """Time per group in the busiest thread, then in the others."""
    pieces, threads = host.pieces, host.threads[host.pieces.owners]
    if threads.size == 0:
        return []
    lengths = np.bincount(threads, weights=pieces.ends - pieces.starts)
    busiest = threads == int(lengths.argmax())
    groups = host.groups[pieces.owners]
    found = []
    for in_thread in (busiest, ~busiest):
        for number, name in enumerate(host.group_names):
            chosen = in_thread & (groups == number)
            found.append((name, union(pieces.starts[chosen], pieces.ends[chosen])))
    return found
