"""Memory over the profiled run: what PyTorch allocated, what the process or the device held."""

from collections.abc import Sequence

import polars as pl

from topout.records import MemoryPoint, MemoryTrack
from topout.trace.capture import PhaseMark
from topout.trace.table import HOST_DEVICE, Trace

_S = 1e-9
MOST_POINTS = 600  # of a track: more are not told apart on a page


def memory_tracks(trace: Trace, marks: Sequence[PhaseMark], begin_ns: int) -> list[MemoryTrack]:
    """The host, then each GPU that allocated; times from `begin_ns` of the trace's clock."""
    events = trace.events.filter(pl.col("kind") == "memory").with_columns(
        pl.col("device").fill_null(HOST_DEVICE)
    )
    devices = sorted({HOST_DEVICE, *events["device"].to_list()})
    return [_track(trace, events, device, marks, begin_ns) for device in devices]


def _track(
    trace: Trace, events: pl.DataFrame, device: int, marks: Sequence[PhaseMark], begin_ns: int
) -> MemoryTrack:
    own = events.filter(pl.col("device") == device)
    on_host = device == HOST_DEVICE
    known = {each.number: each for each in trace.devices}
    points = [
        MemoryPoint(
            at_s=(start_ns - begin_ns) * _S,
            allocated_bytes=allocated,
            reserved_bytes=None if on_host else reserved,
        )
        for start_ns, allocated, reserved in own.select(
            "start_ns", "allocated_bytes", "reserved_bytes"
        ).iter_rows()
        if allocated is not None
    ]
    resident = _resident(marks) if on_host else []
    reserved = [each.reserved_bytes for each in points if each.reserved_bytes is not None]
    name = "host" if on_host else known[device].name if device in known else f"GPU {device}"
    return MemoryTrack(
        device=device,
        name=name,
        points=thinned(points),
        peak_allocated_bytes=max((each.allocated_bytes for each in points), default=None),
        peak_reserved_bytes=max(reserved, default=None),
        resident=resident,
        peak_resident_bytes=max((each.allocated_bytes for each in resident), default=None),
        total_bytes=known[device].memory_bytes if device in known else None,
    )


def _resident(marks: Sequence[PhaseMark]) -> list[MemoryPoint]:
    if not marks:
        return []
    first_s = marks[0].began_s
    ends = [
        pair
        for mark in marks
        for pair in (
            (mark.began_s, mark.rss_at_begin_bytes),
            (mark.ended_s, mark.rss_at_end_bytes),
        )
    ]
    return [
        MemoryPoint(at_s=at_s - first_s, allocated_bytes=size)
        for at_s, size in ends
        if size is not None
    ]


def thinned(points: Sequence[MemoryPoint], most: int = MOST_POINTS) -> list[MemoryPoint]:
    """At most about `most` of them: the highest and the lowest of each stretch, and the last."""
    if len(points) <= most:
        return list(points)
    stretch = -(-len(points) // (most // 2))
    kept: list[MemoryPoint] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        extremes = {
            max(range(len(part)), key=lambda i: part[i].allocated_bytes),
            min(range(len(part)), key=lambda i: part[i].allocated_bytes),
        }
        kept += [part[index] for index in sorted(extremes)]
    return kept if kept[-1] is points[-1] else [*kept, points[-1]]
