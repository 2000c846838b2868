"""Events on another clock than the rest: a week from all others, or a few far from the bulk."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from topout import units
from topout.trace.plausible.recording import (
    LONGEST_NS,
    Bulk,
    Mask,
    Nanoseconds,
    counted_events,
    is_device_work,
    names_of,
)
from topout.trace.table import DEVICE_WORK


def on_one_clock(events: pl.DataFrame, doubts: list[str]) -> pl.DataFrame:
    """Of host and device each the heaviest part that no week of silence divides."""
    starts = events["start_ns"].to_numpy()
    if starts.size < 2 or int(starts[-1]) - int(starts[0]) <= LONGEST_NS:
        return events
    on_device = is_device_work(events)
    kept = np.zeros(starts.size, np.bool_)
    for side in (on_device, ~on_device):
        rows = np.flatnonzero(side)
        if rows.size:
            first, last = _heaviest(starts[rows])
            kept[rows[first:last]] = True
    return _without(events, kept, doubts)


def _heaviest(starts: Nanoseconds) -> tuple[int, int]:
    """The bounds of the part with most moments, and of equal ones the last.

    Moments, not events: what was never given a time lies at one moment, however much it is.
    """
    steps = np.diff(starts)
    bounds = np.concatenate([[0], np.flatnonzero(steps > LONGEST_NS) + 1])
    weights = np.add.reduceat(np.concatenate([[1], steps > 0]), bounds)
    best = weights.size - 1 - int(weights[::-1].argmax())
    ends = np.append(bounds[1:], starts.size)
    return int(bounds[best]), int(ends[best])


def near(events: pl.DataFrame, bulk: Bulk, doubts: list[str]) -> pl.DataFrame:
    """Without the few events that lie far from all others."""
    starts = events["start_ns"].to_numpy()
    first = int(np.searchsorted(starts, bulk.first_ns, side="left"))
    last = int(np.searchsorted(starts, bulk.last_ns, side="right"))
    whole = int(starts[-1]) - int(starts[0])
    if whole <= bulk.near_ns:
        return events
    ends = starts + events["duration_ns"].to_numpy()
    kept = np.ones(starts.size, np.bool_)
    near_begin, near_end = int(starts[first]), int(ends[:last].max())
    for begin, end in _clusters(starts, ends, 0, first, bulk.near_ns)[::-1]:
        if _is_stray(events[begin:end], near_begin - int(ends[begin:end].max()), bulk):
            kept[begin:end] = False
        else:
            near_begin = min(near_begin, int(starts[begin]))
    for begin, end in _clusters(starts, ends, last, starts.size, bulk.near_ns):
        if _is_stray(events[begin:end], int(starts[begin]) - near_end, bulk):
            kept[begin:end] = False
        else:
            near_end = max(near_end, int(ends[begin:end].max()))
    return _without(events, kept, doubts)


def _clusters(
    starts: Nanoseconds, ends: Nanoseconds, first: int, last: int, gap_ns: int
) -> Sequence[tuple[int, int]]:
    """Rows from `first` to `last` in stretches that are further apart than `gap_ns`."""
    if first == last:
        return []
    reached = np.maximum.accumulate(ends[first:last])
    cuts = np.flatnonzero(starts[first + 1 : last] - reached[:-1] > gap_ns) + first + 1
    return list(pairwise([first, *cuts.tolist(), last]))


def _is_stray(few: pl.DataFrame, gap_ns: int, bulk: Bulk) -> bool:
    """Whether events at this distance from all others are on another clock."""
    if gap_ns <= bulk.near_ns or _has_launched_work(few):
        return False
    if not few.select(pl.any_horizontal(pl.col("start_ns", "duration_ns") != 0).any()).item():
        return True  # at 0 for 0: that was never set
    return gap_ns > bulk.reach_ns or (bulk.has_calls and bool(is_device_work(few).all()))


def _has_launched_work(few: pl.DataFrame) -> bool:
    """Whether a call and what it launched, begun after it, are among `few` events."""
    columns = ("correlation", "start_ns")
    known = few.filter(pl.col("correlation").is_not_null())
    calls = known.filter(pl.col("kind") == "runtime").select(columns)
    work = known.filter(pl.col("kind").is_in(list(DEVICE_WORK))).select(columns)
    joined = calls.join(work, on="correlation", suffix="_of_work")
    return bool((joined["start_ns"] < joined["start_ns_of_work"]).any())


def _without(events: pl.DataFrame, kept: Mask, doubts: list[str]) -> pl.DataFrame:
    """`events` that are kept, with a doubt of how far the others lie from them."""
    if kept.all():
        return events
    mask = pl.Series(kept)
    gone, rest = events.filter(~mask), events.filter(mask)
    before_ns = int(rest["start_ns"][0]) - int(gone["start_ns"][0])
    after_ns = int(gone["start_ns"][-1]) - int(rest["start_ns"][-1])
    way = "before" if before_ns >= after_ns else "after"
    far = units.seconds(max(before_ns, after_ns, 0) / 1e9)
    doubts.append(
        f"{counted_events(gone)} on another clock, up to {far} {way} all others "
        f"({names_of(gone)}): left out."
    )
    return rest
