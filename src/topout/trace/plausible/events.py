"""All that is asked of the events of a trace, one question after the other."""

from dataclasses import replace

import numpy as np
import polars as pl

from topout import units
from topout.errors import InputError
from topout.trace.plausible.clocks import near, on_one_clock
from topout.trace.plausible.durations import ended
from topout.trace.plausible.order import in_order
from topout.trace.plausible.recording import LONGEST_NS, bulk_of, counted_events, names_of
from topout.trace.table import Trace

_MOST_CLOCK_NS = (1 << 62) - 1  # of a start, either way; a Unix time of today is 1.8e18
_MOST_FIGURE = 1 << 48  # bytes and elements of an event, 281 TB: sums of many stay below 2⁶³
_FIGURES = ("bytes", "elements_in", "elements_out", "allocated_bytes", "reserved_bytes")


def plausible(trace: Trace) -> Trace:
    """`trace` without what cannot have been, and with a doubt for each kind of it.

    Raises InputError where all durations together are more than can be counted.
    """
    doubts: list[str] = []
    events = _known_sizes(_possible(trace.events, doubts), doubts)
    if trace.timed:
        events = on_one_clock(events, doubts)
        if (bulk := bulk_of(events)) is not None:
            events = in_order(events, bulk, doubts)
            events = ended(events, bulk, doubts)
            events = near(events, bulk, doubts)
    if float(events["duration_ns"].to_numpy().sum(dtype=np.float64)) > _MOST_CLOCK_NS:
        raise InputError(
            f"{trace.path}: its durations add up to more than 146 years.",
            "Give the trace as recorded.",
        )
    return replace(trace, events=events, doubts=(*trace.doubts, *doubts)) if doubts else trace


def _possible(events: pl.DataFrame, doubts: list[str]) -> pl.DataFrame:
    """Those with a duration that can be, at a time that a clock can show."""
    start, duration = pl.col("start_ns"), pl.col("duration_ns")
    is_possible = (
        start.is_between(-_MOST_CLOCK_NS, _MOST_CLOCK_NS) & (duration <= LONGEST_NS)
    ).fill_null(value=False)
    found = events.select(is_possible.alias("possible"))["possible"]
    if found.all():
        return events
    gone = events.filter(~found)
    doubts.append(
        f"{counted_events(gone)} without a duration, of more than a week or at a time that no "
        f"clock shows ({names_of(gone)}): left out."
    )
    return events.filter(found)


def _known_sizes(events: pl.DataFrame, doubts: list[str]) -> pl.DataFrame:
    """Sizes that no memory has become null."""
    beyond = {name: (pl.col(name).abs() > _MOST_FIGURE).fill_null(value=False) for name in _FIGURES}
    counts = events.select(each.sum().alias(name) for name, each in beyond.items())
    count = sum(counts.row(0)) if counts.height else 0
    if not count:
        return events
    doubts.append(f"{units.counted(count, 'size')} beyond 256 TiB: taken as unknown.")
    return events.with_columns(
        pl.when(~is_beyond).then(pl.col(name)).alias(name) for name, is_beyond in beyond.items()
    )
