"""Which of some events of a trace runs innermost at a moment of a thread."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.trace.analysis.intervals import Nanoseconds
from topout.trace.analysis.nesting import innermost

Positions = NDArray[np.int64]


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
