"""The critical path of a step in a trace of the host alone.

Nothing waits for a device here: the step is as long as its thread takes. Each moment belongs to
the first of these that fits: fetching data, the operator that ran innermost in the busiest
thread, an operator of another thread, a collective, and the host's own work between operators.
"""

import numpy as np

from topout.records.trace import CriticalPart
from topout.trace.analysis.critical_path import COMMUNICATION, HOST, LOADING, as_parts
from topout.trace.analysis.host_work import HostWork
from topout.trace.analysis.intervals import Intervals, gaps, nothing, overlap, union, union_of


def host_critical_path(
    host: HostWork, loading: Intervals, begin_ns: int, end_ns: int
) -> list[CriticalPart]:
    """Parts of the time from `begin_ns` to `end_ns`, the longest first; they sum to it."""
    window = gaps(nothing(), begin_ns, end_ns)
    parts: dict[str, int] = {}
    claimed = nothing()
    for name, intervals in [(LOADING, loading), *_by_thread(host), (COMMUNICATION, host.waits)]:
        more = union_of(claimed, overlap(intervals, window))
        parts[name] = parts.get(name, 0) + more.covered_ns - claimed.covered_ns
        claimed = more
    parts[HOST] = parts.get(HOST, 0) + window.covered_ns - claimed.covered_ns
    return as_parts(parts)


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
