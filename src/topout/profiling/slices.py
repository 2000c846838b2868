"""A trace cut into slices of time: in each, one operator, region and phase of one thread.

A slice belongs to the innermost operator around it and to one region: sums over slices count each
moment of a thread once, by operators and by regions alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from topout.profiling.innermost import Positions, innermost_at, numbers_of
from topout.profiling.origin import named_regions, regions_of
from topout.trace.analysis.intervals import Intervals, Nanoseconds, union
from topout.trace.analysis.nesting import innermost
from topout.trace.capture import MODULE_PREFIX, PHASE_PREFIX
from topout.trace.table import Trace

_HOST_KINDS = ("annotation", "cpu_op", "runtime")


@dataclass(frozen=True)
class Slices:
    """The host's events, and the time in slices; positions are rows of `events`, −1 is none.

    `events` has the columns of a trace, and row, end_ns and phase. `table` has start_ns, end_ns,
    thread, operator, runtime, region, backward and phase; the region of a backward is that of its
    forward. Phases are numbered as in `phases`.
    """

    events: pl.DataFrame
    table: pl.DataFrame
    phases: pl.DataFrame  # name, start_ns, end_ns, thread: in the order of time

    def of(self, numbers: Sequence[int]) -> pl.DataFrame:
        """The slices of these phases."""
        return self.table.filter(pl.col("phase").is_in(list(numbers)))

    def operators(self, numbers: Sequence[int]) -> pl.DataFrame:
        """The calls of operators that began in these phases."""
        return self.events.filter(
            (pl.col("kind") == "cpu_op") & pl.col("phase").is_in(list(numbers))
        )

    def regions(self, numbers: Sequence[int]) -> pl.DataFrame:
        """The regions that began in these phases, but for the phases themselves."""
        return named_regions(self.events).filter(pl.col("phase").is_in(list(numbers)))

    def operator_cover(self) -> Intervals:
        """When any thread was in an operator."""
        found = self.events.filter(pl.col("kind") == "cpu_op")
        return union(numbers_of(found, "start_ns"), numbers_of(found, "end_ns"))


def cut(trace: Trace) -> Slices:
    """The slices of a captured trace."""
    events = (
        trace.events.filter(pl.col("kind").is_in(_HOST_KINDS))
        .with_columns(
            pl.col("kind").cast(pl.String),
            pl.col("name").cast(pl.String),
            pl.col("thread").fill_null(0),
            (pl.col("start_ns") + pl.col("duration_ns")).alias("end_ns"),
        )
        .with_row_index("row")
        .with_columns(pl.col("row").cast(pl.Int64))
    )
    is_phase = (pl.col("kind") == "annotation") & pl.col("name").str.starts_with(PHASE_PREFIX)
    phases = events.filter(is_phase).select(
        pl.col("name").str.strip_prefix(PHASE_PREFIX), "start_ns", "end_ns", "thread"
    )
    events = events.with_columns(
        pl.Series("phase", _phase_at(phases, numbers_of(events, "start_ns")))
    )
    table = _table(events)
    return Slices(events, _with_places(events, phases, table), phases)


def _table(events: pl.DataFrame) -> pl.DataFrame:
    """start_ns, end_ns and thread of each slice."""
    threads = numbers_of(events, "thread")
    pieces = innermost(numbers_of(events, "start_ns"), numbers_of(events, "end_ns"), threads)
    return pl.DataFrame(
        {"start_ns": pieces.starts, "end_ns": pieces.ends, "thread": threads[pieces.owners]}
    )


def _with_places(events: pl.DataFrame, phases: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    origin = regions_of(events, table)
    return table.with_columns(
        pl.Series("operator", innermost_at(events.filter(pl.col("kind") == "cpu_op"), table)),
        pl.Series("runtime", innermost_at(events.filter(pl.col("kind") == "runtime"), table)),
        pl.Series("region", origin.rows),
        pl.Series("backward", origin.backward),
        pl.Series("phase", _phase_at(phases, numbers_of(table, "start_ns"))),
    )


def region_name(event_name: str) -> str:
    """What a region is called on a page: a module by its name alone."""
    return event_name.removeprefix(MODULE_PREFIX)


def _phase_at(phases: pl.DataFrame, moments: Nanoseconds) -> Positions:
    """The number of the phase at each moment, on whatever thread; −1 for none."""
    if phases.is_empty():
        return np.full(moments.size, -1, np.int64)
    starts, ends = numbers_of(phases, "start_ns"), numbers_of(phases, "end_ns")
    place = np.searchsorted(starts, moments, side="right") - 1
    known = np.maximum(place, 0)
    inside = (place >= 0) & (moments < ends[known])
    return np.where(inside, place, -1).astype(np.int64)
