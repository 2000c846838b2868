"""Whether traces that were read together belong together, in words where they do not."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from topout.trace.table import Trace

_UNIX_YEAR_2001_NS = 10**18  # a smaller time counts from an unknown moment


class Span(NamedTuple):
    """From when to when a trace has events, in Unix time."""

    start_ns: int
    end_ns: int


def doubts_of_job(traces: Sequence[Trace]) -> list[str]:
    """What does not fit: ranks missing or double, other jobs among them, other clocks."""
    if len(traces) < 2 and not any(trace.rank is not None for trace in traces):
        return []
    return [*_about_ranks(traces), *_about_jobs(traces), *_about_times(traces)]


def _about_ranks(traces: Sequence[Trace]) -> list[str]:
    ranks = Counter(trace.rank for trace in traces if trace.rank is not None)
    unknown = [trace.path.name for trace in traces if trace.rank is None]
    doubts = []
    if double := sorted(rank for rank, files in ranks.items() if files > 1):
        doubts.append(f"More than one file each says it is rank {_numbers(double)}.")
    if unknown and len(traces) > 1:
        doubts.append(f"The rank is not known of {', '.join(unknown[:5])}.")
    sizes = {trace.world_size for trace in traces if trace.world_size}
    if len(sizes) == 1 and not unknown:
        size = sizes.pop()
        if (missing := size - sum(rank < size for rank in ranks)) > 0:
            first = [rank for rank in range(min(size, len(ranks) + 11)) if rank not in ranks]
            doubts.append(
                f"{missing} of {size} ranks are missing: {_numbers(first, missing)}. What they did "
                "is not counted, and waiting for them cannot be told apart."
            )
        if beyond := sorted(rank for rank in ranks if rank >= size):
            doubts.append(f"Rank {_numbers(beyond)} in a job of {size} ranks.")
    return doubts


def _about_jobs(traces: Sequence[Trace]) -> list[str]:
    doubts = []
    sizes = sorted({trace.world_size for trace in traces if trace.world_size})
    if len(sizes) > 1:
        doubts.append(
            f"The traces are of different jobs: {_numbers(sizes)} ranks. Give one job at a time."
        )
    formats = sorted({trace.format for trace in traces})
    if len(formats) > 1:
        doubts.append(f"The traces are of different profilers: {', '.join(formats)}.")
    backends = sorted({trace.backend for trace in traces if trace.backend})
    if len(backends) > 1:
        doubts.append(f"The ranks use different back ends: {', '.join(backends)}.")
    return doubts


def _about_times(traces: Sequence[Trace]) -> list[str]:
    doubts = []
    hosts = sorted({trace.host for trace in traces if trace.host})
    if len(hosts) > 1:
        doubts.append(
            f"The ranks ran on {len(hosts)} hosts ({', '.join(hosts[:5])}), whose clocks may "
            "differ by hundreds of microseconds."
        )
    origins = {trace.origin_ns for trace in traces if trace.format == "kineto"}
    if len(origins) > 1:
        apart_s = (max(origins) - min(origins)) / 1e9
        doubts.append(f"The base times of the traces differ, by up to {apart_s:.6g} s.")
    spans = [span for trace in traces if (span := span_of(trace))]
    if len(spans) > 1 and max(s.start_ns for s in spans) > min(s.end_ns for s in spans):
        doubts.append(
            "Some of the traces have no time in common: they may be of different runs, or of "
            "hosts whose clocks are far apart."
        )
    return doubts


def span_of(trace: Trace) -> Span | None:
    """The time that a trace covers; None where it is empty or counts from an unknown moment."""
    if trace.events.is_empty():
        return None
    start = trace.events["start_ns"][0]
    end = (trace.events["start_ns"] + trace.events["duration_ns"]).max()
    if start is None or not isinstance(end, int) or start + trace.origin_ns < _UNIX_YEAR_2001_NS:
        return None
    return Span(start + trace.origin_ns, end + trace.origin_ns)


def _numbers(numbers: Sequence[int], total: int | None = None) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown}, …" if (total or len(numbers)) > 10 else shown
