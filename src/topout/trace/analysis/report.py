"""Everything that traces say, in one report."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
from msgspec.structs import replace
from numpy.typing import NDArray

from topout.errors import InputError
from topout.progress import Notify, silent
from topout.records.record import stamp
from topout.records.trace import CriticalPart, DeviceTime, IdleTime, MemoryPoint, TraceReport
from topout.trace.analysis.breakdown import NOT_TIMED, device_times, host_time
from topout.trace.analysis.communication import rank_numbers, study
from topout.trace.analysis.completeness import WORTH_A_DOUBT, recorded_work
from topout.trace.analysis.critical_path import (
    NO_LAUNCHES,
    HostTime,
    clocks_apart,
    critical_path,
    has_launches,
    host_critical_path,
    idle_times,
)
from topout.trace.analysis.cycles import Ranks, ranks_of
from topout.trace.analysis.device_work import (
    DeviceWork,
    HostWaits,
    Launches,
    Step,
    device_steps,
    host_waits_of,
    launches_of,
    middle_step,
    steps_of,
)
from topout.trace.analysis.doubts import doubts_of, doubts_of_groups, doubts_of_recording
from topout.trace.analysis.findings import findings_of
from topout.trace.analysis.groups import Rules
from topout.trace.analysis.host_work import (
    HostWork,
    communication_on_host,
    data_loading,
    host_work_of,
)
from topout.trace.analysis.intervals import Intervals, bounds_of, union, union_of
from topout.trace.table import HOST_DEVICE, Trace

MOST_POINTS = 400
_KEPT_PER_SLICE = 3  # lowest and highest allocated, highest reserved
_NO_MEMORY = "The trace records no allocations: profile with memory (torch: profile_memory=True)."
_HOST_IDLE = "The trace has no work of a device; idle is when no operator ran on the host."
_PATH_OF_DEVICE = (
    "The trace holds no launch calls of the host, so that the path stays on the device: gaps "
    "count as time between kernels."
)


def analyse(traces: Sequence[Trace], rules: Rules, notify: Notify = silent) -> TraceReport:
    """Where the time of one job went, by rank and device; `traces` are its ranks.

    Raises InputError where there is no trace, or none with work of a device or an operator.
    """
    if not traces:
        raise InputError("there is no trace to analyse.", "Give one file or more.")
    began = time.perf_counter()
    found: list[DeviceTime] = []
    ranks = ranks_of(traces)
    for place, (trace, cycle) in enumerate(zip(traces, ranks.cycles, strict=True)):
        notify(f"time of {trace.path.name}", place / (len(traces) + 1))
        found += [replace(each, cycle=cycle) for each in device_report(trace, rules)]
    if not found:
        raise _no_work(traces)
    notify("communication", len(traces) / (len(traces) + 1))
    communication, alignment = study(ranks.traces)
    if any(trace.rank is not None for trace in traces) or len(ranks.traces) > 1:
        found = _numbered(found, traces, ranks)
    report = TraceReport(
        **stamp(),
        files=[str(trace.path) for trace in traces],
        format=", ".join(sorted({trace.format for trace in traces})),
        world_size=max((trace.world_size or 0 for trace in traces), default=0) or None,
        events=sum(trace.events.height for trace in traces),
        ranks=found,
        communication=communication,
        doubts=[
            *doubts_of(traces, alignment, ranks.traces),
            *doubts_of_recording(found),
            *doubts_of_groups(found),
        ],
        reasons=_reasons(found),
        elapsed_s=time.perf_counter() - began,
    )
    notify("done", 1.0)
    return replace(report, findings=findings_of(report))


def _no_work(traces: Sequence[Trace]) -> InputError:
    paths = ", ".join(str(trace.path) for trace in traces)
    said = "".join(f" {doubt}" for trace in traces for doubt in trace.doubts)
    return InputError(
        f"{paths}: no kernel, copy or operator in it.{said}",
        "Record a trace while the model runs, with a profiler of PyTorch, JAX, CUDA or ROCm.",
    )


def device_report(trace: Trace, rules: Rules) -> list[DeviceTime]:
    """Time of each device of one trace with idle causes, critical path and memory."""
    work = recorded_work(trace, rules)
    memory = memory_timelines(trace)
    if not work:
        host = host_work_of(trace, rules)
        if host is None:
            return []
        made = host_time(trace, host)
        path = [] if made.unknown_s else _path_of_host(trace, host)
        reasons = made.reasons | {"idle": _HOST_IDLE} | ({} if memory else {"memory": _NO_MEMORY})
        return [
            replace(made, critical_path=path, memory=memory.get(HOST_DEVICE, []), reasons=reasons)
        ]
    if not trace.timed:
        unknown = {"idle": NOT_TIMED, "critical_path": NOT_TIMED, "memory": _NO_MEMORY}
        return [
            replace(made, reasons=made.reasons | unknown)
            for made in device_times(trace, rules, work)
        ]
    launches = launches_of(trace)
    waits = host_waits_of(trace, launches)
    host_time_of = HostTime(data_loading(trace), communication_on_host(trace))
    steps = steps_of(trace)
    reports = []
    for made, of_device in zip(device_times(trace, rules, work), work, strict=True):
        others = [each for each in work if each.device != of_device.device]
        elsewhere = _elsewhere(trace, of_device.device, others)
        path_of = partial(_path_of, of_device, launches, waits, steps, host_time_of)
        why = _why(of_device, launches, elsewhere, host_time_of.communication, path_of)
        reports.append(
            replace(
                made,
                idle=why.idle,
                critical_path=why.path,
                memory=memory.get(of_device.device, []),
                reasons=made.reasons
                | why.reasons
                | ({} if of_device.device in memory else {"memory": _NO_MEMORY}),
            )
        )
    return reports


class _Why(NamedTuple):
    """Causes of idle time and the critical path, or why they cannot be told."""

    idle: list[IdleTime]
    path: list[CriticalPart]
    reasons: dict[str, str]


def _why(
    work: DeviceWork,
    launches: Launches,
    elsewhere: Intervals,
    on_host: Intervals,
    path_of: Callable[[], list[CriticalPart]],
) -> _Why:
    """What held one device up; nothing is claimed of clocks apart and of what was not recorded."""
    if apart := clocks_apart(work, launches):
        return _Why([], [], {"clocks": apart, "idle": apart, "critical_path": apart})
    reasons = {}
    idle = []
    if not work.idle_is_known:
        reasons["idle"] = work.lost
    elif has_launches(work, launches):
        idle = idle_times(work, launches, elsewhere=elsewhere, on_host=on_host)
    else:
        reasons |= {"idle": NO_LAUNCHES, "critical_path": _PATH_OF_DEVICE}
    path = path_of()
    if work.lost and not path:
        reasons["critical_path"] = work.lost
    return _Why(idle, path, reasons)


def _elsewhere(trace: Trace, device: int, others: Sequence[DeviceWork]) -> Intervals:
    """When other devices of the trace communicated, or a stream of this one waited."""
    waits = trace.events.filter((pl.col("kind") == "gpu_sync") & (pl.col("device") == device))
    return union_of(union(*bounds_of(waits)), *(other.communication for other in others))


def _path_of(
    work: DeviceWork,
    launches: Launches,
    waits: HostWaits,
    steps: list[Step],
    host: HostTime,
) -> list[CriticalPart]:
    """The critical path of the step of median length, or else of the device's whole time.

    Of a step of which not all work was recorded there is none.
    """
    lived = [Step("whole trace", work.begin_ns, work.end_ns)]
    if steps:
        lived = device_steps(steps, work, launches)
    whole = _whole_steps(lived, work)
    step = middle_step(whole) if whole else lived[0]
    if not whole or step.duration_ns <= 0:
        return []
    return critical_path(
        work.during(step.start_ns, step.end_ns),
        launches,
        waits,
        step.start_ns,
        step.end_ns,
        host,
    )


def _whole_steps(steps: list[Step], work: DeviceWork) -> list[Step]:
    """Those in which nothing worth a doubt is unknown."""
    begins = np.array([step.start_ns for step in steps], np.int64)
    ends = np.array([step.end_ns for step in steps], np.int64)
    unknown = union_of(work.unknown, work.beyond).covered_in(begins, ends)
    is_whole = unknown <= WORTH_A_DOUBT * (ends - begins)
    return [step for step, whole in zip(steps, is_whole.tolist(), strict=True) if whole]


def _path_of_host(trace: Trace, host: HostWork) -> list[CriticalPart]:
    steps = steps_of(trace)
    step = middle_step(steps) if steps else Step("whole trace", host.begin_ns, host.end_ns)
    if step.duration_ns <= 0:
        return []
    return host_critical_path(host, data_loading(trace), step.start_ns, step.end_ns)


def _numbered(found: list[DeviceTime], traces: Sequence[Trace], ranks: Ranks) -> list[DeviceTime]:
    """Each with the rank that the matrix of communication calls it."""
    numbers = rank_numbers(ranks.traces)
    places = {str(trace.path): at for trace, at in zip(traces, ranks.places, strict=True)}
    return sorted(
        (replace(each, rank=numbers[places[each.file]]) for each in found),
        key=lambda each: (each.rank or 0, each.cycle or 0, each.device),
    )


def _reasons(found: Sequence[DeviceTime]) -> dict[str, str]:
    if any(each.device != HOST_DEVICE for each in found):
        return {}
    return {
        "devices": "The traces hold no work of a device: times are those of the host's operators."
    }


def memory_timelines(trace: Trace, most_points: int = MOST_POINTS) -> dict[int, list[MemoryPoint]]:
    """Per device the memory after each allocation and release, thinned; −1 is the host.

    Times are seconds from the trace's first event. Thinned to at most `most_points` (6 or more),
    with the highest and lowest allocation and the highest reservation of each slice of time kept,
    so that no peak is lost. Where a trace does not say the total, it is the sum of the bytes from
    the trace's start on, moved up so that it is never below zero.
    """
    changes = trace.events.filter(pl.col("kind") == "memory").sort("start_ns", maintain_order=True)
    if changes.is_empty():
        return {}
    begin = trace.events["start_ns"].min()
    assert isinstance(begin, int)  # there are events
    timelines = {}
    for (device,), of_device in changes.group_by("device", maintain_order=True):
        points = _timeline(of_device, begin, most_points)
        if points and isinstance(device, int):
            timelines[device] = points
    return timelines


def _timeline(changes: pl.DataFrame, begin_ns: int, most_points: int) -> list[MemoryPoint]:
    if changes["allocated_bytes"].null_count() == changes.height:
        total = changes["bytes"].fill_null(0).cum_sum()
        lowest = total.min()
        assert isinstance(lowest, int)
        changes = changes.with_columns(allocated_bytes=total - min(lowest, 0))
    changes = changes.filter(pl.col("allocated_bytes").is_not_null())
    if changes.is_empty():
        return []
    allocated = changes["allocated_bytes"].to_numpy()
    reserved = changes["reserved_bytes"]
    at = changes["start_ns"].to_numpy() - begin_ns
    kept = _thinned(at, allocated, reserved.fill_null(0).to_numpy(), most_points)
    # The allocator of the host reserves nothing and reports 0.
    says_reserved = bool((reserved.fill_null(0) > 0).any())
    return [
        MemoryPoint(
            at_s=at_ns / 1e9,
            allocated_bytes=now_allocated,
            reserved_bytes=now_reserved if says_reserved else None,
        )
        for at_ns, now_allocated, now_reserved in zip(
            at[kept].tolist(),
            allocated[kept].tolist(),
            reserved.gather(kept).to_list(),
            strict=True,
        )
    ]


def _thinned(
    at: NDArray[np.int64],
    allocated: NDArray[np.int64],
    reserved: NDArray[np.int64],
    most_points: int,
) -> NDArray[np.int64]:
    """Positions that remain, ascending: extremes of each slice of time, the first and the last."""
    count = at.size
    if count <= most_points:
        return np.arange(count, dtype=np.int64)
    slices = max(1, (most_points - 2) // _KEPT_PER_SLICE)
    slice_of = np.minimum((at - at[0]) * slices // max(1, int(at[-1] - at[0])), slices - 1)
    begins = np.flatnonzero(np.concatenate([[True], slice_of[1:] != slice_of[:-1]]))
    kept = [np.array([0, count - 1])]
    for values in (allocated, -allocated, reserved):
        # Sorted by slice and value, the first of each slice has the lowest value.
        kept.append(np.lexsort((values if values is not reserved else -values, slice_of))[begins])
    return np.unique(np.concatenate(kept))
