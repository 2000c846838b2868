"""Events longer than the recording, where nothing else was recorded that long."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout import units
from topout.trace.plausible.recording import (
    FEW,
    SPANS,
    Bulk,
    Mask,
    Nanoseconds,
    counted_events,
    is_device_work,
    names_of,
)
from topout.trace.table import DEVICE_WORK, matching_names

_UNLIKE = 100  # times as long, where nothing else was recorded that long
_COLLECTIVE = r"(?i)[nr]ccl|all_?reduce|all_?gather"
_AGREE_NS = 10**6  # two events that end together do so within this, or a thousandth of their length
_AGREE_SHARE = 1000


def ended(events: pl.DataFrame, bulk: Bulk, doubts: list[str]) -> pl.DataFrame:
    """Without what is longer than the bulk and where nothing else began and ended."""
    durations = events["duration_ns"].to_numpy()
    rows = np.flatnonzero(durations > SPANS * bulk.span_ns)
    if not rows.size:
        return events
    lengths = durations[rows]
    launched = is_device_work(events)[rows] & bulk.has_calls
    rows = rows[
        (lengths > bulk.reach_ns) | (launched & (lengths > bulk.near_ns)) | _is_unlike(events, rows)
    ]
    kept = np.ones(durations.size, np.bool_)
    kept[rows] = _confirmed(events, rows, bulk)
    if kept.all():
        return events
    gone = events.filter(~pl.Series(kept))
    longest = units.seconds(int(durations[~kept].max()) / 1e9)
    doubts.append(
        f"{counted_events(gone)} of up to {longest}, longer than all else that was recorded "
        f"({names_of(gone)}): left out."
    )
    return events.filter(pl.Series(kept))


def _is_unlike(events: pl.DataFrame, rows: NDArray[np.int64]) -> Mask:
    """Which of `rows` last a hundred times as long as their like, that ran often enough to tell.

    Of operators and work of devices, but collectives, which last as long as the slowest rank needs.
    """
    kinds = pl.col("kind").is_in([*DEVICE_WORK, "cpu_op"]) & pl.col("collective").is_null()
    own = events[rows].select("kind", "name", "duration_ns")
    collectives = matching_names(own, _COLLECTIVE)
    likes = (
        events.lazy()
        .filter(kinds & ~pl.col("name").is_in(collectives))
        .join(own.lazy().select("kind", "name").unique(), on=["kind", "name"], how="semi")
        .group_by("kind", "name")
        .agg(runs=pl.len(), like=pl.col("duration_ns").top_k(FEW + 1).min())
        .filter(pl.col("runs") > FEW + 1)
        .collect()
    )
    known = own.join(likes, on=["kind", "name"], how="left", maintain_order="left")
    is_unlike = pl.col("duration_ns") > _UNLIKE * pl.col("like")
    unlike: Mask = known.select(is_unlike.fill_null(value=False)).to_series().to_numpy()
    return unlike


def _confirmed(events: pl.DataFrame, rows: NDArray[np.int64], bulk: Bulk) -> Mask:
    """For each of `rows` whether something else was recorded at its beginning and at its end.

    A region of the device is no witness: it is made from the kernels in it. Neither are events of
    the same kind and the very same duration: what ran over is often cut to one number.
    """
    starts, durations = events["start_ns"].to_numpy(), events["duration_ns"].to_numpy()
    ends = starts + durations
    begin, end = starts[rows], ends[rows]
    tolerance = np.maximum(_AGREE_NS, durations[rows] // _AGREE_SHARE)
    others = (events["kind"] != "gpu_annotation").to_numpy()
    outside = others & ((ends > bulk.last_ns) | (starts < bulk.first_ns))
    witnesses = np.sort(np.concatenate([starts[outside], ends[outside]]))

    def seen(moments: Nanoseconds, own: NDArray[np.int64]) -> Mask:
        """Whether more witnesses than an event's own began or ended near its moment."""
        low = np.searchsorted(witnesses, moments - tolerance, side="left")
        high = np.searchsorted(witnesses, moments + tolerance, side="right")
        near: Mask = high - low > own
        return near

    # What comes before all else and lasts until the rest begins had nothing beside it.
    touches = end + SPANS * bulk.span_ns >= bulk.first_ns
    in_bulk = begin + tolerance >= bulk.first_ns
    begins_seen = touches | in_bulk | seen(begin, outside[rows].astype(np.int64))
    kinds = events["kind"].to_physical().to_numpy().astype(np.int64)
    of_kind = durations * (int(kinds.max(initial=0)) + 1) + kinds
    alike = np.sort(of_kind[outside])
    below, upto = (np.searchsorted(alike, of_kind[rows], side=side) for side in ("left", "right"))
    ends_seen = (end - tolerance <= bulk.last_ns) | seen(end, upto - below)
    confirmed: Mask = begins_seen & ends_seen
    return confirmed
