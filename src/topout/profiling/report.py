"""A captured run put into the record, what it says in sentences, and its trace for other viewers.

Other viewers are Perfetto and Chrome, and TensorBoard's profiler plugin.
"""

import gzip
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import polars as pl

from topout import units
from topout.errors import writing
from topout.profiling.phases import Recorded, Timed, profile_phases
from topout.profiling.rates import Costs, costs_of
from topout.profiling.runs import CapturedRun
from topout.records import (
    Count,
    Doubt,
    Hardware,
    MemoryPoint,
    MemoryTrack,
    OperatorRate,
    PeakDtype,
    PhaseProfile,
    ProfileReport,
)
from topout.roofline import Exceeded, ceilings_at, exceeded_doubts, is_above, share_of
from topout.trace.capture import PHASE_PREFIX, PhaseMark
from topout.trace.readers.read import read_trace
from topout.trace.table import HOST_DEVICE, Trace
from topout.whole_file import whole_file

TRACE_FILE = "trace.json.gz"
MOST_POINTS = 600  # of a memory track: more are not told apart on a page
_TENSORBOARD_ENDING = ".pt.trace.json.gz"  # by which the plugin knows its files
_S = 1e-9
NOTABLE_SLOWDOWN = 1.25
NOTABLE_GAP = 0.1
UNACCOUNTED = 0.02
_FAR, _LONG = 0.5, 0.1  # of the roof; of the phase's time
_MOST_GAIN = 100.0  # that is promised of what is nearly all of a phase
_ROOFS = {"memory": "of the measured bandwidth", "compute": "of the measured arithmetic rate"}


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
    """`report` with its phases (of `wanted` alone) and memory; raises as `read_trace` does."""
    trace = read_trace(captured.path)
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
    with writing(target, "trace"), whole_file(target) as unfinished:
        if target.suffix == ".gz":
            shutil.copyfile(trace, unfinished)
        else:
            with gzip.open(trace, "rb") as packed, unfinished.open("wb") as plain:
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
        with whole_file(target) as unfinished:
            shutil.copyfile(trace, unfinished)
    return target


def profile_findings(report: ProfileReport) -> list[str]:
    """Per phase: its longest operators, its parts, its distance from the roof, its gaps."""
    findings = []
    for phase in report.phases:
        findings += [
            sentence
            for sentence in (
                _operators(phase),
                _part(phase),
                _rate(phase),
                _gaps(phase),
                _waiting(phase, report.threads),
                *_devices(phase),
            )
            if sentence
        ]
    return findings


def _title(phase: PhaseProfile) -> str:
    return phase.name.capitalize()


def _operators(phase: PhaseProfile) -> str:
    longest = [each for each in phase.operators[:3] if each.self_share > 0]
    if not longest:
        return f"{_title(phase)} calls no operator of PyTorch."
    named = ", ".join(f"{each.name} {units.percent(each.self_share)}" for each in longest)
    return f"{_title(phase)} spends its time in {named}."


def _part(phase: PhaseProfile) -> str:
    parts = [part for part in phase.parts if part.self_share > 0][:3]
    if len(parts) < 2:
        return ""
    named = ", ".join(f"{part.name} {units.percent(part.self_share)}" for part in parts)
    return f"By parts, {phase.name} is {named}."


def _rate(phase: PhaseProfile) -> str:
    """The longest work: how near the roof it comes."""
    if not phase.rates or not phase.traced_s:
        return ""
    longest = phase.rates[0]
    share, what = nearest_roof(longest)
    if share is None:
        return ""
    name = f"{longest.name} of {longest.part}" if longest.part else longest.name
    text = f"In {phase.name} {name} reaches {share_of(share)} {what}"
    if is_above(share):
        nearer = "its bytes came from a nearer level, or " if what != _ROOFS["compute"] else ""
        return f"{text}: {nearer}the ceiling was measured too low."
    far = share < _FAR and longest.time_s > _LONG * phase.traced_s
    if not far:
        return f"{text}."
    lost_s = longest.time_s * (1 - share)
    return (
        f"{text}: {_without(phase, lost_s)} at that roof. It is the first place to look: other "
        "kernels, fewer bits a weight, more rows at a time (`topout climb` tries what applies)."
    )


def _without(phase: PhaseProfile, lost_s: float) -> str:
    """What a phase gains where some of its time as traced goes."""
    gain = phase.traced_s / max(phase.traced_s - lost_s, phase.traced_s / _MOST_GAIN)
    return f"{phase.name} would be {units.times(gain)} as fast"


def nearest_roof(rate: OperatorRate) -> tuple[float | None, str]:
    """Share of the roof that binds, and its name in words; None where no roof is known."""
    compute, bandwidth = rate.of_compute_ceiling, rate.of_bandwidth_ceiling
    if compute is None or bandwidth is None:
        return None, ""
    if compute >= bandwidth:
        return compute, _ROOFS["compute"]
    return bandwidth, _ROOFS["memory"] + (f" of {rate.level}" if rate.level else "")


def _gaps(phase: PhaseProfile) -> str:
    if not phase.traced_s:
        return ""
    share = phase.gap_s / phase.traced_s
    text = f"{units.percent(share, 1)} of {phase.name} is in no operator"
    if share < NOTABLE_GAP:
        return f"{text}."
    where = f", most of it in {phase.gaps[0].part}" if phase.gaps else ""
    return (
        f"{text}{where}: Python and the framework between the operators. Without that "
        f"{_without(phase, phase.gap_s)}: one graph instead of calls from Python takes it away "
        "(`torch.compile`; `topout climb` tries it)."
    )


def _waiting(phase: PhaseProfile, threads: int) -> str:
    elapsed = phase.elapsed
    if elapsed is None:
        return ""
    return (
        f"Without the profiler {phase.name} keeps {units.counted(threads, 'thread')} busy "
        f"{units.percent(elapsed.processor_share)} of the "
        f"time ({units.seconds(elapsed.user_s)} user, {units.seconds(elapsed.system_s)} system)."
    )


def _devices(phase: PhaseProfile) -> list[str]:
    found = []
    for device in phase.devices:
        if device.utilization is None:
            why = device.reasons.get("utilization", "When it was busy is not known.")
            found.append(f"GPU {device.device} in {phase.name}: {why}")
            continue
        text = f"GPU {device.device} is busy {units.percent(device.utilization)} of {phase.name}"
        if device.occupancy is not None:
            text += f", at an occupancy of {units.percent(device.occupancy)}"
        found.append(f"{text}.")
    return found


def profile_doubts(report: ProfileReport) -> list[Doubt]:
    """What the profiler itself changed, time that is not accounted for, ceilings exceeded."""
    doubts = []
    for phase in report.phases:
        slowdown = phase.slowdown
        if slowdown is not None and slowdown.median > NOTABLE_SLOWDOWN:
            doubts.append(
                Doubt(
                    about=phase.name,
                    sentence=(
                        f"The profiler makes it {units.times(slowdown.median)} as long, and "
                        "short operators more than long ones."
                    ),
                    remedy="Take speeds from `topout run`, and shares from here.",
                )
            )
        if phase.unaccounted_share > UNACCOUNTED:
            doubts.append(
                Doubt(
                    about=phase.name,
                    sentence=(
                        f"{units.percent(phase.unaccounted_share, 1)} of its time by the clock is "
                        "neither in an operator nor in a gap of the trace."
                    ),
                    remedy="Run again, or profile fewer tokens.",
                )
            )
    return [*doubts, *exceeded_doubts(_exceeded(report))]


def _exceeded(report: ProfileReport) -> list[Exceeded]:
    """Work above the arithmetic ceiling, or faster than even the nearest level of memory.

    Above the level that holds what a pass moves is nothing to doubt: what the op before has left
    in a nearer cache is read from there.
    """
    levels = ceilings_at(report.ceilings, report.threads).bandwidth if report.ceilings else []
    fastest = max((each.bytes_per_s for each in levels), default=math.inf)
    found: list[Exceeded] = []
    for phase in report.phases:
        for each in phase.rates:
            what = f"{each.name} in {phase.name}"
            if each.of_compute_ceiling is not None:
                rate = each.flops_per_s
                found.append(Exceeded(what, "arithmetic", rate, each.of_compute_ceiling))
            found.append(Exceeded(what, "bandwidth", each.bytes_per_s, each.bytes_per_s / fastest))
    return found
