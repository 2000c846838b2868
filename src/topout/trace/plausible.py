"""What of a trace can have been: each event is held against the bulk of its recording.

Readers tell what a file says, analyses what it means; between them stands this. What a recording
never is, by far, is left out or cut off, counted and named in a doubt, so that one bad event
decides no figure. What recordings are like bounds each rule:

- A recording may pause for minutes, a night or days: cycles of a profiler, a model loaded long
  before it runs. So a gap says nothing by itself. Left out is what lies a week or more from the
  heavier part of its side (host or device), for no recording is silent that long; and a few events,
  at most one in a thousand, that more than 10 min and ten times the span of all others part from
  them. They stay where a call of the host and the work that it launched lie there together, since
  two clocks do not go wrong alike; work of a device whose own call is elsewhere, or nowhere though
  calls were recorded, needs no 10 min for that.
- Regions, Python functions and waits may last as long as the recording, and kernels may. So what is
  longer than the bulk is left out only where nothing else was recorded at its beginning or its end:
  a collective that hangs ends with the call that waits for it.
- Work of one stream runs in order. Still its times overlap: by rounding, and by dependent launches,
  which start before what they depend on ends but do not end before it. Kernels of one captured
  graph run side by side, and share a correlation. Processes, contexts and hardware queues may share
  the number of a stream: then many overlap, of usual durations. So cut off is what still runs when
  work of another launch behind it is through, and is longer than its like or than the recording.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout import units
from topout.errors import InputError
from topout.trace.table import DEVICE_WORK, Trace

LONGEST_NS = 7 * 86_400 * 10**9  # of an event, and of a gap: no profiler records a week
_MOST_CLOCK_NS = (1 << 62) - 1  # of a start, either way; a Unix time of today is 1.8e18
_FAR_NS = 600 * 10**9
_FAR_FROM_LAUNCH_NS = 10**9
_SPANS = 10  # times the span of the bulk: nearer is no sign of anything
_MOST_FIGURE = 1 << 48  # bytes and elements of an event, 281 TB: sums of many stay below 2⁶³
_FIGURES = ("bytes", "elements_in", "elements_out", "allocated_bytes", "reserved_bytes")
_ROUNDING_NS = 2_000  # old traces are in whole microseconds
_FEW = 3  # events, or one in a thousand moments, are bad before the others are doubted
_LIKE = 3  # times as long as its like, but for a few
_WHOLE = 2  # times the span of the bulk: at most half of a recording's moments lie outside of it
_AGREE_NS = 10**6  # two events that end together do so within this, or a thousandth of their length
_AGREE_SHARE = 1000
_ROUNDS = 20
_EXAMPLES = 2
_LONGEST_NAME = 60

Nanoseconds = NDArray[np.int64]
Mask = NDArray[np.bool_]


def plausible(trace: Trace) -> Trace:
    """`trace` without what cannot have been, and with a doubt for each kind of it.

    Raises InputError where all durations together are more than can be counted.
    """
    doubts: list[str] = []
    events = _known_sizes(_possible(trace.events, doubts), doubts)
    if trace.timed:
        events = _on_one_clock(events, doubts)
        if (bulk := _bulk_of(events)) is not None:
            events = _in_order(events, bulk, doubts)
            events = _ended(events, bulk, doubts)
            events = _near(events, bulk, doubts)
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
        f"{_counted(gone)} without a duration, of more than a week or at a time that no clock "
        f"shows ({_names(gone)}): left out."
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


# --- clocks -------------------------------------------------------------------------------------


def _on_one_clock(events: pl.DataFrame, doubts: list[str]) -> pl.DataFrame:
    """Of host and device each the heaviest part that no week of silence divides."""
    starts = events["start_ns"].to_numpy()
    if starts.size < 2 or int(starts[-1]) - int(starts[0]) <= LONGEST_NS:
        return events
    on_device = _is_device_work(events)
    kept = np.zeros(starts.size, np.bool_)
    for side in (on_device, ~on_device):
        rows = np.flatnonzero(side)
        if rows.size:
            first, last = _heaviest(starts[rows])
            kept[rows[first:last]] = True
    return _without(events, kept, starts[kept], doubts)


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


def _without(
    events: pl.DataFrame, kept: Mask, near: Nanoseconds, doubts: list[str]
) -> pl.DataFrame:
    """`events` that are kept, with a doubt of how far the others lie from those `near`."""
    if kept.all():
        return events
    mask = pl.Series(kept)
    gone = events.filter(~mask)
    first, last = int(near.min()), int(near.max())
    gaps = [
        max(first - int(gone["start_ns"][0]), 0),
        max(int(gone["start_ns"][-1]) - last, 0),
    ]
    way = "before" if gaps[0] >= gaps[1] else "after"
    far = units.seconds(max(gaps) / 1e9)
    doubts.append(
        f"{_counted(gone)} on another clock, up to {far} {way} all others "
        f"({_names(gone)}): left out."
    )
    return events.filter(mask)


# --- the bulk -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bulk:
    """The recording but for the `few` moments at either end, and how far from it is far."""

    first_ns: int
    last_ns: int
    has_calls: bool  # of the host, which launch the work of the device

    @property
    def span_ns(self) -> int:
        """From its first moment to its last."""
        return self.last_ns - self.first_ns

    @property
    def near_ns(self) -> int:
        """What is nearer, or no longer, is never far."""
        return max(_SPANS * self.span_ns, _FAR_FROM_LAUNCH_NS)

    @property
    def reach_ns(self) -> int:
        """What is further, or longer, needs something else beside it."""
        return max(_SPANS * self.span_ns, _FAR_NS)


def _bulk_of(events: pl.DataFrame) -> _Bulk | None:
    """The bulk of a recording; None of one with so few moments that none is beside the others."""
    starts = events["start_ns"].to_numpy()
    if not starts.size:
        return None
    moments = starts[np.concatenate([[True], starts[1:] != starts[:-1]])]
    few = min(max(_FEW, moments.size // 1000), moments.size // 4)
    if not few:
        return None
    has_calls = bool((events["kind"] == "runtime").any())
    return _Bulk(int(moments[few]), int(moments[-1 - few]), has_calls)


# --- order in a stream --------------------------------------------------------------------------

_STREAM = ("device", "process", "stream")


def _in_order(events: pl.DataFrame, bulk: _Bulk, doubts: list[str]) -> pl.DataFrame:
    """Cut off what outlasts work of another launch behind it in its stream, against its like."""
    work = _streams(events)
    reached = pl.col("end_ns").cum_max().shift(1).over(_STREAM)
    outlasted = work.filter(reached > pl.col("end_ns") + _ROUNDING_NS)
    if outlasted.is_empty():
        return events
    # Of the streams in which that happens, all work.
    streams = outlasted.select(_STREAM).unique()
    work = work.join(streams, on=_STREAM, how="semi", nulls_equal=True, maintain_order="left")
    usual = _usual_ns(work)
    cut: dict[int, int] = {}
    for _, stream in work.group_by(_STREAM, maintain_order=True):
        cut |= _cut_ends(stream, bulk, usual)
    if not cut:
        return events
    rows = np.array(list(cut), np.int64)
    durations = events["duration_ns"].to_numpy().copy()
    longest = units.seconds(int(durations[rows].max()) / 1e9)
    durations[rows] = np.array(list(cut.values()), np.int64) - events["start_ns"].to_numpy()[rows]
    gone = events[rows.tolist()]
    doubts.append(
        f"{_counted(gone)} of up to {longest}, still running when what is queued behind in its "
        f"stream is through ({_names(gone)}): cut off where the next begins."
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


def _usual_ns(work: pl.DataFrame) -> dict[str | None, int]:
    """By name the fourth longest duration, or the least of fewer: a few bad ones do not move it."""
    length = (pl.col("end_ns") - pl.col("start_ns")).alias("length")
    longest = (
        work.select(pl.col("name").cast(pl.String), length)
        .group_by("name")
        .agg(pl.col("length").top_k(_FEW + 1).min())
    )
    return dict(longest.iter_rows())


def _cut_ends(stream: pl.DataFrame, bulk: _Bulk, usual: dict[str | None, int]) -> dict[int, int]:
    """New ends by the rows in the trace, of one stream in the order of time."""
    starts, ends = stream["start_ns"].to_numpy(), stream["end_ns"].to_numpy().copy()
    correlations = stream["correlation"].fill_null(0).to_numpy()
    most = max(_FEW, starts.size // 100)
    found: dict[int, int] = {}
    # What one that is cut off hid comes to light behind it.
    for _ in range(_ROUNDS):
        held, holders = _outlasted(ends, correlations)
        new = {}
        for holder, at in zip(*np.unique(holders, return_index=True), strict=True):
            length, begins = int(ends[holder] - starts[holder]), int(starts[held[at]])
            like = usual[stream["name"][int(holder)]]
            is_known = bool(correlations[holder] and correlations[held[at]])
            is_longer = length > _WHOLE * bulk.span_ns or (is_known and length > _LIKE * like)
            if is_longer and begins - starts[holder] <= bulk.reach_ns:
                new[int(holder)] = begins
        if len(found.keys() | new.keys()) > most:
            return {}  # so many are no accident: the stream runs side by side
        if not new:
            break
        for holder, end in new.items():
            ends[holder] = end
        found |= new
    rows = stream["row"].to_list()
    return {rows[at]: end for at, end in found.items()}


def _outlasted(ends: Nanoseconds, correlations: NDArray[np.int64]) -> tuple[Nanoseconds, ...]:
    """Places of work that ends before other work in front of it does, and the places of that."""
    reached = np.maximum.accumulate(ends)
    place = np.arange(ends.size)
    holders = np.maximum.accumulate(np.where(ends >= reached, place, 0))[:-1]
    is_other = (correlations[1:] != correlations[holders]) | (correlations[1:] == 0)
    held = np.flatnonzero((ends[1:] + _ROUNDING_NS < reached[:-1]) & is_other)
    return held + 1, holders[held]


# --- ends and distances -------------------------------------------------------------------------


def _ended(events: pl.DataFrame, bulk: _Bulk, doubts: list[str]) -> pl.DataFrame:
    """Without what is longer than the bulk and where nothing else began and ended."""
    durations = events["duration_ns"].to_numpy()
    rows = np.flatnonzero(durations > bulk.near_ns)
    if not rows.size:
        return events
    if bulk.reach_ns > bulk.near_ns:
        is_long = durations[rows] > bulk.reach_ns
        rows = rows[is_long | (_is_device_work(events)[rows] & bulk.has_calls)]
    kept = np.ones(durations.size, np.bool_)
    kept[rows] = _confirmed(events, rows, bulk)
    if kept.all():
        return events
    gone = events.filter(~pl.Series(kept))
    longest = units.seconds(int(durations[~kept].max()) / 1e9)
    doubts.append(
        f"{_counted(gone)} of up to {longest}, longer than all else that was recorded "
        f"({_names(gone)}): left out."
    )
    return events.filter(pl.Series(kept))


def _confirmed(events: pl.DataFrame, rows: NDArray[np.int64], bulk: _Bulk) -> Mask:
    """For each of `rows` whether something else was recorded at its beginning and at its end.

    A region of the device is no witness: it is made from the kernels in it.
    """
    starts = events["start_ns"].to_numpy()
    ends = starts + events["duration_ns"].to_numpy()
    others = (events["kind"] != "gpu_annotation").to_numpy()
    tolerance = np.maximum(_AGREE_NS, (ends[rows] - starts[rows]) // _AGREE_SHARE)
    begin, end = starts[rows], ends[rows]
    outside = others & ((ends > bulk.last_ns) | (starts < bulk.first_ns))
    witnesses = np.sort(np.concatenate([starts[outside], ends[outside]]))

    def seen(moments: Nanoseconds, own: Mask) -> Mask:
        """Whether others than the event itself began or ended near its moment."""
        low = np.searchsorted(witnesses, moments - tolerance, side="left")
        high = np.searchsorted(witnesses, moments + tolerance, side="right")
        near: Mask = high - low > own
        return near

    is_witness = outside[rows]
    begins_seen = (begin + tolerance >= bulk.first_ns) | seen(begin, is_witness)
    ends_seen = (end - tolerance <= bulk.last_ns) | seen(end, is_witness)
    confirmed: Mask = begins_seen & ends_seen
    return confirmed


def _near(events: pl.DataFrame, bulk: _Bulk, doubts: list[str]) -> pl.DataFrame:
    """Without the few events that lie far from all others."""
    starts = events["start_ns"].to_numpy()
    first = int(np.searchsorted(starts, bulk.first_ns, side="left"))
    last = int(np.searchsorted(starts, bulk.last_ns, side="right"))
    begins = int(starts[first]) - int(starts[0]) > bulk.near_ns
    if not begins and int(starts[-1]) - int(starts[first]) <= bulk.near_ns:
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
    return _without(events, kept, starts[kept], doubts)


def _clusters(
    starts: Nanoseconds, ends: Nanoseconds, first: int, last: int, gap_ns: int
) -> Sequence[tuple[int, int]]:
    """Rows from `first` to `last` in stretches that are further apart than `gap_ns`."""
    if first == last:
        return []
    reached = np.maximum.accumulate(ends[first:last])
    cuts = np.flatnonzero(starts[first + 1 : last] - reached[:-1] > gap_ns) + first + 1
    return list(pairwise([first, *cuts.tolist(), last]))


def _is_stray(few: pl.DataFrame, gap_ns: int, bulk: _Bulk) -> bool:
    """Whether events at this distance from all others are on another clock."""
    if gap_ns <= bulk.near_ns or _has_launched_work(few):
        return False
    return gap_ns > bulk.reach_ns or (bulk.has_calls and bool(_is_device_work(few).all()))


def _has_launched_work(few: pl.DataFrame) -> bool:
    """Whether a call and what it launched, begun after it, are among `few` events."""
    columns = ("correlation", "start_ns")
    known = few.filter(pl.col("correlation").is_not_null())
    calls = known.filter(pl.col("kind") == "runtime").select(columns)
    work = known.filter(pl.col("kind").is_in(list(DEVICE_WORK))).select(columns)
    joined = calls.join(work, on="correlation", suffix="_of_work")
    return bool((joined["start_ns"] < joined["start_ns_of_work"]).any())


# --- words --------------------------------------------------------------------------------------


def _is_device_work(events: pl.DataFrame) -> Mask:
    mask: Mask = events["kind"].is_in(list(DEVICE_WORK)).to_numpy()
    return mask


def _counted(events: pl.DataFrame) -> str:
    return units.counted(events.height, "event")


def _names(events: pl.DataFrame) -> str:
    """The first names as far as they look unlike, and how many more there are."""
    names = events["name"].cast(pl.String).fill_null("without a name").unique(maintain_order=True)
    short = dict.fromkeys(
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names
    )
    shown, more = list(short)[:_EXAMPLES], len(short) - _EXAMPLES
    return ", ".join(shown) + (f" and {units.counted(more, 'other name')}" if more > 0 else "")
