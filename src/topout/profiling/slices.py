"""A trace cut into slices of time: in each, one operator, region and phase of one thread.

A slice belongs to the innermost operator around it and to one region: sums over slices count each
moment of a thread once, by operators and by regions alike. The region of a backward is that of its
forward: autograd numbers the nodes of its graph; the forward operator that makes a node carries its
number in the trace, and so does the node when the backward runs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.trace.analysis.intervals import Intervals, Nanoseconds, innermost, union
from topout.trace.capture import MODULE_PREFIX, PHASE_PREFIX
from topout.trace.table import Trace

Positions = NDArray[np.int64]
_NODE = "autograd::engine::evaluate_function: "
_HOST_KINDS = ("annotation", "cpu_op", "runtime")


def innermost_at(events: pl.DataFrame, calls: pl.DataFrame) -> Positions:
    """Which of `events` runs innermost where each of `calls` begins: its `row`, −1 for none."""
    return innermost_row(events, numbers_of(calls, "start_ns"), numbers_of(calls, "thread"))


def innermost_row(events: pl.DataFrame, moments: Nanoseconds, threads: Positions) -> Positions:
    """Which of `events` runs innermost at each moment of a thread: its `row`, −1 for none."""
    own_threads = numbers_of(events, "thread")
    pieces = innermost(numbers_of(events, "start_ns"), numbers_of(events, "end_ns"), own_threads)
    rows = numbers_of(events, "row")
    found = np.full(moments.size, -1, np.int64)
    for thread in np.unique(threads):
        mine = own_threads[pieces.owners] == thread
        if not mine.any():
            continue
        order = np.argsort(pieces.starts[mine], kind="stable")
        starts, ends = pieces.starts[mine][order], pieces.ends[mine][order]
        owners = rows[pieces.owners[mine][order]]
        asked = threads == thread
        place = np.searchsorted(starts, moments[asked], side="right") - 1
        known = np.maximum(place, 0)
        found[asked] = np.where((place >= 0) & (moments[asked] < ends[known]), owners[known], -1)
    return found


def numbers_of(events: pl.DataFrame, column: str) -> Positions:
    """A column of whole numbers as an array."""
    numbers: Positions = events[column].cast(pl.Int64).to_numpy().astype(np.int64)
    return numbers


@dataclass(frozen=True)
class Origin:
    """For each call the row of its region, −1 for none, and whether it is part of a backward."""

    rows: Positions
    backward: NDArray[np.bool_]


def regions_of(events: pl.DataFrame, calls: pl.DataFrame) -> Origin:
    """Where each of `calls` belongs; `events` are the host's, with row (their place) and end_ns."""
    own = innermost_at(named_regions(events), calls)
    operators = events.filter(pl.col("kind") == "cpu_op")
    is_node = pl.col("name").str.starts_with(_NODE)
    nodes = operators.filter(is_node)
    if nodes.is_empty():
        return Origin(own, np.zeros(calls.height, np.bool_))
    around = innermost_at(nodes, calls)
    made = _made_in(events, operators.filter(~is_node), nodes)
    numbers = dict(zip(nodes["row"].to_list(), nodes["sequence"].to_list(), strict=True))
    forward = np.array([made.get(numbers.get(row), -1) for row in around.tolist()], np.int64)
    # A forward that runs again during the backward, to save memory, has regions of its own.
    starts = numbers_of(events, "start_ns")
    again = (own >= 0) & (around >= 0) & (starts[own] >= starts[around])
    return Origin(np.where(again | (around < 0), own, forward), around >= 0)


def named_regions(events: pl.DataFrame) -> pl.DataFrame:
    """Modules and what the user's code named; not the phases."""
    is_phase = pl.col("name").str.starts_with(PHASE_PREFIX)
    return events.filter((pl.col("kind") == "annotation") & ~is_phase)


def _made_in(
    events: pl.DataFrame, operators: pl.DataFrame, nodes: pl.DataFrame
) -> dict[int | None, int]:
    """By the number of a node: the region of the operator that made it."""
    forward = operators.filter(pl.col("sequence").is_not_null())
    forward = forward.filter(pl.Series(innermost_at(nodes, forward) < 0, dtype=pl.Boolean))
    # Operators that make no node carry the next one's number: the one that makes it is the last.
    forward = forward.sort("start_ns").unique("sequence", keep="last", maintain_order=True)
    regions = innermost_at(named_regions(events), forward).tolist()
    return dict(zip(forward["sequence"].to_list(), regions, strict=True))


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
