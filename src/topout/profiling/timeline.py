"""The time line of one pass: its regions and operators as nested spans."""

import polars as pl

from topout.profiling.slices import Slices, region_name
from topout.records import TimelineSpan
from topout.records.profile import SpanKind

_S = 1e-9
MOST_SPANS = 2000  # the longest of a pass with more: shorter ones are thinner than a line
_KINDS: dict[str, SpanKind] = {
    "annotation": "region",
    "cpu_op": "operator",
    "runtime": "runtime",
}


def timeline(slices: Slices, number: int, most: int = MOST_SPANS) -> list[TimelineSpan]:
    """What ran in a phase on its own thread, in the order of time; the phase itself is first."""
    phase = slices.phases.row(number, named=True)
    events = slices.events.filter(
        (pl.col("phase") == number) & (pl.col("thread") == phase["thread"])
    ).sort("start_ns", "duration_ns", descending=[False, True])
    begin_ns = phase["start_ns"]
    spans: list[TimelineSpan] = []
    open_ends: list[int] = []
    columns = events.select("name", "kind", "start_ns", "end_ns")
    for name, kind, start_ns, end_ns in columns.iter_rows():
        while open_ends and open_ends[-1] <= start_ns:
            open_ends.pop()
        span = TimelineSpan(
            name=phase["name"] if not open_ends else region_name(name),
            kind=_KINDS[kind],
            depth=len(open_ends),
            start_s=(start_ns - begin_ns) * _S,
            duration_s=(end_ns - start_ns) * _S,
        )
        spans.append(span)
        open_ends.append(end_ns)
    return _longest(spans, most)


def _longest(spans: list[TimelineSpan], most: int) -> list[TimelineSpan]:
    if len(spans) <= most:
        return spans
    least_s = sorted((span.duration_s for span in spans), reverse=True)[most - 1]
    return [span for span in spans if span.duration_s >= least_s]


def median_pass(slices: Slices, numbers: list[int]) -> int:
    """The number of the pass of median duration."""
    lengths = (slices.phases["end_ns"] - slices.phases["start_ns"]).to_list()
    ordered = sorted(numbers, key=lambda number: lengths[number])
    return ordered[(len(ordered) - 1) // 2]
