"""A captured run read and put into the record: its phases, its memory; its trace for other viewers.

Other viewers are Perfetto and Chrome, and TensorBoard's profiler plugin.
"""

import gzip
import os
import re
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import polars as pl

from topout.errors import writing
from topout.profiling.costs import Costs, costs_of
from topout.profiling.phases import Recorded, Timed, profile_phases
from topout.profiling.runs import CapturedRun
from topout.records import Count, Hardware, MemoryPoint, MemoryTrack, PeakDtype, ProfileReport
from topout.trace.capture import PHASE_PREFIX, PhaseMark
from topout.trace.readers.kineto import read_kineto
from topout.trace.table import HOST_DEVICE, Trace

TRACE_FILE = "trace.json.gz"
MOST_POINTS = 600  # of a memory track: more are not told apart on a page
_TENSORBOARD_ENDING = ".pt.trace.json.gz"  # by which the plugin knows its files
_S = 1e-9


class Captured(msgspec.Struct, frozen=True):
    """A captured run, the runs beside it, and what it is measured against."""

    path: Path
    run: CapturedRun
    timed: Timed
    count: Count | None
    hardware: Hardware | None
    dtype: PeakDtype


def fill_in(
    report: ProfileReport, captured: Captured, wanted: list[str] | None = None
) -> ProfileReport:
    """`report` with its phases (of `wanted` alone) and memory; raises as `read_kineto` does."""
    trace = read_kineto(captured.path)
    recorded = Recorded(
        trace=trace,
        marks=captured.run.marks,
        types=captured.run.types,
        costs=_costs(trace, captured.count),
        hardware=captured.hardware,
        dtype=captured.dtype,
    )
    return msgspec.structs.replace(
        report,
        phases=profile_phases(recorded, captured.timed, wanted),
        memory=_memory(trace, captured),
    )


def _costs(trace: Trace, count: Count | None) -> Costs | None:
    if count is None:
        return None
    operators = trace.events.filter(trace.events["kind"] == "cpu_op")["name"]
    return costs_of([count], sorted(set(operators.cast(pl.String).to_list())))


def _memory(trace: Trace, captured: Captured) -> list[MemoryTrack]:
    """Times from the beginning of the first phase."""
    names = trace.events["name"].cast(pl.String)
    is_phase = (trace.events["kind"] == "annotation") & names.str.starts_with(PHASE_PREFIX)
    begins = trace.events.filter(is_phase)["start_ns"]
    begin_ns = int(begins[0]) if begins.len() else 0
    return memory_tracks(trace, captured.run.marks, begin_ns)


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


def export_perfetto(trace: Path, target: Path) -> Path:
    """Copy a gzipped trace to `target`, unpacked where that does not end in .gz.

    Raises OutputError when it cannot be written.
    """
    with writing(target, "trace"):
        if target.suffix == ".gz":
            shutil.copyfile(trace, target)
        else:
            with gzip.open(trace, "rb") as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
    return target


def export_tensorboard(trace: Path, folder: Path, worker: str | None = None) -> Path:
    """Copy a gzipped trace into a TensorBoard log folder under the name of its `worker`.

    By default that is host and process. Raises OutputError when it cannot be written.
    """
    name = worker or f"{socket.gethostname()}_{os.getpid()}"
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name)  # a dot would end the worker's name
    target = folder / f"{safe}.{time.time_ns()}{_TENSORBOARD_ENDING}"
    with writing(target, "trace"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trace, target)
    return target
