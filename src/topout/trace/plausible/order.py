"""Work that outlasts what is queued behind it in its stream."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout import units
from topout.trace.plausible.recording import FEW, Bulk, Nanoseconds, counted_events, names_of
from topout.trace.table import DEVICE_WORK

_ROUNDING_NS = 2_000  # old traces are in whole microseconds
_LIKE = 3  # times as long as its like, but for a few
_WHOLE = 2  # times the span of the bulk: at most half of a recording's moments lie outside of it
_ROUNDS = 20
_STREAM = ("device", "process", "stream")


def in_order(events: pl.DataFrame, bulk: Bulk, doubts: list[str]) -> pl.DataFrame:
    """Cut off what outlasts work of another launch behind it in its stream, against its like."""
    work = _streams(events)
    reached = pl.col("end_ns").cum_max().shift(1).over(_STREAM)
    outlasted = work.filter(reached > pl.col("end_ns") + _ROUNDING_NS)
    if outlasted.is_empty():
        return events
    # Of the streams in which that happens, all work.
    streams = outlasted.select(_STREAM).unique()
    work = work.join(streams, on=_STREAM, how="semi", nulls_equal=True, maintain_order="left")
    work = work.with_columns(_like())
    cut: dict[int, int] = {}
    for _, stream in work.group_by(_STREAM, maintain_order=True):
        cut |= _cut_ends(stream, bulk)
    if not cut:
        return events
    rows = np.array(list(cut), np.int64)
    durations = events["duration_ns"].to_numpy().copy()
    longest = units.seconds(int(durations[rows].max()) / 1e9)
    durations[rows] = np.array(list(cut.values()), np.int64) - events["start_ns"].to_numpy()[rows]
    gone = events[rows.tolist()]
    doubts.append(
        f"{counted_events(gone)} of up to {longest}, still running when what is queued behind in "
        f"its stream is through ({names_of(gone)}): cut off where the next begins."
    )
    return events.with_columns(duration_ns=pl.Series(durations))


def _streams(events: pl.DataFrame) -> pl.DataFrame:
    """Work of devices whose stream is known, with its rows in `events`."""
    return (
        events.lazy()
        .select("start_ns", "duration_ns", "kind", "name", *_STREAM, "correlation")
        .with_row_index("row")
        .filter(pl.col("kind").is_in(list(DEVICE_WORK)) & pl.col("stream").is_not_null())
        .select(
            "row", "start_ns", "name", *_STREAM, "correlation",
            end_ns=pl.col("start_ns") + pl.col("duration_ns"),
        )
        .collect()
    )  # fmt: skip


def _like() -> pl.Expr:
    """Of each row the fourth longest duration of its name, or the least of fewer.

    A few bad ones do not move it.
    """
    length = pl.col("end_ns") - pl.col("start_ns")
    return length.top_k(FEW + 1).min().over("name").alias("like_ns")


def _cut_ends(stream: pl.DataFrame, bulk: Bulk) -> dict[int, int]:
    """New ends by the rows in the trace, of one stream in the order of time."""
    starts, ends = stream["start_ns"].to_numpy(), stream["end_ns"].to_numpy().copy()
    correlations = stream["correlation"].fill_null(0).to_numpy()
    like = stream["like_ns"].to_numpy()
    most = max(FEW, starts.size // 100)
    cut = np.zeros(starts.size, np.bool_)
    # What one that is cut off hid comes to light behind it.
    for _ in range(_ROUNDS):
        held, holders = _outlasted(ends, correlations)
        holders, first = np.unique(holders, return_index=True)
        held = held[first]
        lengths, until = ends[holders] - starts[holders], starts[held]
        is_known = (correlations[holders] != 0) & (correlations[held] != 0)
        is_longer = (lengths > _WHOLE * bulk.span_ns) | (
            is_known & (lengths > _LIKE * like[holders])
        )
        chosen = is_longer & (until - starts[holders] <= bulk.reach_ns)
        if not chosen.any():
            break
        cut[holders[chosen]] = True
        ends[holders[chosen]] = until[chosen]
        if cut.sum() > most:
            return {}  # so many are no accident: the stream runs side by side
    rows = stream["row"].to_numpy()[cut]
    return dict(zip(rows.tolist(), ends[cut].tolist(), strict=True))


def _outlasted(ends: Nanoseconds, correlations: NDArray[np.int64]) -> tuple[Nanoseconds, ...]:
    """Places of work that ends before other work in front of it does, and the places of that."""
    reached = np.maximum.accumulate(ends)
    place = np.arange(ends.size)
    holders = np.maximum.accumulate(np.where(ends >= reached, place, 0))[:-1]
    is_other = (correlations[1:] != correlations[holders]) | (correlations[1:] == 0)
    held = np.flatnonzero((ends[1:] + _ROUNDING_NS < reached[:-1]) & is_other)
    return held + 1, holders[held]
