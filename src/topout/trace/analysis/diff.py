"""What got slower from one trace to another, by group and by kernel.

Times are of one step where both traces mark their steps, since traces seldom hold the same number
of them; else of the whole trace. Several devices are taken in the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from topout import units
from topout.errors import InputError
from topout.records.record import Doubt, stamp
from topout.records.trace import GroupChange, TraceDiff
from topout.trace.analysis.breakdown import kernel_table, split_of
from topout.trace.analysis.completeness import recorded_work
from topout.trace.analysis.device_work import (
    DeviceWork,
    Step,
    device_steps,
    launches_of,
    steps_of,
)
from topout.trace.analysis.doubts import doubts_of_files, kinds_of_devices
from topout.trace.analysis.groups import Rules
from topout.trace.analysis.host_work import HostWork, host_work_of
from topout.trace.table import DEVICE_WORK, Trace

TOP_KERNELS = 50
_SAME = 0.02  # a change below this share is not worth a sentence
_ALIKE_CALLS = 1.25
_NO_STEPS = (
    "A trace that marks no steps (ProfilerStep) is compared as a whole: times differ also where "
    "it holds more or fewer steps."
)


@dataclass(frozen=True)
class _Side:
    """One of the two traces: time per kernel, on one device in the mean, of one step if marked."""

    kernels: pl.DataFrame  # name, group, calls, total_ns
    wall_ns: float
    busy_ns: float
    devices: int
    on_host: bool
    timed: bool = True  # False: the wall time is the sum of the durations
    lost: str = ""  # what was launched and not recorded, in words


def diff(before: Trace, after: Trace, rules: Rules) -> TraceDiff:
    """Changes of time by group and kernel, the largest first.

    Raises InputError where one of them holds neither work of a device nor operators, or one has
    devices and the other only the host.
    """
    steps_before, steps_after = steps_of(before), steps_of(after)
    per_step = bool(steps_before and steps_after)
    one = _side(before, rules, steps_before if per_step else [])
    other = _side(after, rules, steps_after if per_step else [])
    if one.on_host != other.on_host:
        without = before if one.on_host else after
        raise InputError(
            f"{without.path} holds no work of a device, and the other trace does.",
            "Compare two traces that both recorded the device, or both the host alone.",
        )
    groups, kernels = (
        _changes(_summed(one.kernels, by), _summed(other.kernels, by)) for by in ("group", "name")
    )
    return TraceDiff(
        **stamp(),
        before=str(before.path),
        after=str(after.path),
        per_step=per_step,
        wall_before_s=one.wall_ns / 1e9,
        wall_after_s=other.wall_ns / 1e9,
        devices_before=kinds_of_devices(before),
        devices_after=kinds_of_devices(after),
        groups=groups,
        kernels=kernels[:TOP_KERNELS],
        findings=[
            *about_devices([before], [after]),
            *_findings(one, other, groups, kernels, per_step=per_step),
        ],
        doubts=[
            *_about_recording(before, after),
            *doubts_of_files([before, after]),
            *_doubts(one, other, groups, per_step=per_step),
        ],
        reasons={} if per_step else {"per_step": _NO_STEPS},
    )


def about_devices(before: Sequence[Trace], after: Sequence[Trace]) -> list[str]:
    """That the hardware differs, which stands before all that got slower or faster with it."""
    one, other = all_kinds(before), all_kinds(after)
    if not one or not other or one == other:
        return []
    return [
        f"The devices differ: {', '.join(one)} before, {', '.join(other)} after. What follows "
        "tells how the two compare as much as what changed in the program."
    ]


def all_kinds(traces: Sequence[Trace]) -> list[str]:
    return sorted({kind for trace in traces for kind in kinds_of_devices(trace)})


def _about_recording(before: Trace, after: Trace) -> list[Doubt]:
    doubts = [
        Doubt(
            about="devices",
            sentence=sentence,
            remedy="Compare traces of one kind of device, or use `topout compare` of two runs.",
        )
        for sentence in about_devices([before], [after])
    ]
    if before.format != after.format:
        doubts.append(
            Doubt(
                about="formats",
                sentence=f"Recorded in two ways: {before.format} before, {after.format} after.",
                remedy="Record both with one profiler: each slows a program in its own way.",
            )
        )
    return doubts


def _side(trace: Trace, rules: Rules, steps: list[Step]) -> _Side:
    work = recorded_work(trace, rules)
    if work:
        return _device_side(trace, rules, work, steps)
    host = host_work_of(trace, rules)
    if host is None:
        raise InputError(
            f"{trace.path} holds no kernel, copy or operator.",
            "Record a trace while the model runs.",
        )
    return _host_side(host, steps)


def _device_side(trace: Trace, rules: Rules, work: list[DeviceWork], steps: list[Step]) -> _Side:
    """All of the trace, or the work that belongs to its steps, over devices and steps."""
    events = trace.events
    parts = max(len(steps), 1)
    if steps:
        launches = launches_of(trace)
        lived = {each.device: device_steps(steps, each, launches) for each in work}
        bounds = {device: (own[0].start_ns, own[-1].end_ns) for device, own in lived.items()}
        events = _inside(events, bounds)
        walls = [end - begin for begin, end in bounds.values()]
        busy = [_busy_in(each, *bounds[each.device]) for each in work]
    else:
        splits = [split_of(each) for each in work]
        walls, busy = [each.wall_ns for each in splits], [each.busy_ns for each in splits]
    share = 1 / parts / len(work)
    kernels = kernel_table(events, rules).with_columns(
        pl.col("name", "group").cast(pl.String).fill_null("")
    )
    per_step = kernels.select("name", "group", pl.col("calls") * share, pl.col("total_ns") * share)
    return _Side(
        per_step,
        max(walls) / parts,
        sum(busy) * share,
        devices=len(work),
        on_host=False,
        timed=trace.timed,
        lost=next((each.lost for each in work if each.lost), ""),
    )


def _busy_in(work: DeviceWork, begin_ns: int, end_ns: int) -> int:
    bounds = np.array([[begin_ns], [end_ns]], np.int64)
    return int(work.busy.covered_in(*bounds)[0])


def _inside(events: pl.DataFrame, bounds: dict[int, tuple[int, int]]) -> pl.DataFrame:
    """Work of each device that began within its bounds."""
    chosen = pl.lit(False)
    for device, (begin, end) in bounds.items():
        within = (pl.col("start_ns") >= begin) & (pl.col("start_ns") < end)
        chosen = chosen | ((pl.col("device") == device) & within)
    return events.filter(pl.col("kind").is_in(list(DEVICE_WORK)) & chosen)


def _host_side(host: HostWork, steps: list[Step]) -> _Side:
    begin, end = (steps[0].start_ns, steps[-1].end_ns) if steps else (host.begin_ns, host.end_ns)
    parts = max(len(steps), 1)
    kernels = host.by_name(begin, end + 1).with_columns(
        pl.col("calls") / parts, pl.col("total_ns") / parts
    )
    busy = host.busy.covered_in(*np.array([[begin], [end]], np.int64))
    return _Side(kernels, (end - begin) / parts, int(busy[0]) / parts, devices=1, on_host=True)


def _summed(kernels: pl.DataFrame, by: str) -> pl.DataFrame:
    return kernels.group_by(pl.col(by).alias("name")).agg(pl.col("calls", "total_ns").sum())


def _changes(before: pl.DataFrame, after: pl.DataFrame) -> list[GroupChange]:
    """Every name of either side, by how much its time changed."""
    joined = before.join(after, on="name", how="full", suffix="_after", coalesce=True)
    joined = joined.with_columns(pl.col(pl.Float64, pl.Int64, pl.UInt32).fill_null(0))
    joined = joined.with_columns(change=pl.col("total_ns_after") - pl.col("total_ns"))
    ranked = joined.sort(pl.col("change").abs(), pl.col("name"), descending=[True, False])
    return [
        GroupChange(
            name=row["name"],
            before_s=row["total_ns"] / 1e9,
            after_s=row["total_ns_after"] / 1e9,
            before_calls=round(row["calls"]),
            after_calls=round(row["calls_after"]),
            change_s=row["change"] / 1e9,
            ratio=row["total_ns_after"] / row["total_ns"] if row["total_ns"] else None,
        )
        for row in ranked.iter_rows(named=True)
    ]


def _findings(
    one: _Side,
    other: _Side,
    groups: list[GroupChange],
    kernels: list[GroupChange],
    *,
    per_step: bool,
) -> list[str]:
    what = "A step" if per_step else "The trace"
    wall_before, wall_after = (units.seconds(side.wall_ns / 1e9) for side in (one, other))
    found = [
        f"{what} takes {wall_after} after {wall_before} before "
        f"({_change(one.wall_ns, other.wall_ns)})."
    ]
    if one.lost or other.lost:
        return found
    worth = _SAME * one.busy_ns / 1e9
    for name, changes in (("group", groups), ("kernel", kernels)):
        largest = next((each for each in changes if abs(each.change_s) > worth), None)
        if largest is not None:
            found.append(f"The {name} that changed most is {_told(largest)}.")
    slower = [each for each in groups if each.change_s > worth]
    if len(slower) > 1:
        names = ", ".join(f"{each.name} (+{units.seconds(each.change_s)})" for each in slower)
        found.append(f"Slower: {names}.")
    idle_before, idle_after = one.wall_ns - one.busy_ns, other.wall_ns - other.busy_ns
    both_timed = one.timed and other.timed
    if both_timed and abs(idle_after - idle_before) > _SAME * one.wall_ns:
        found.append(
            f"Idle time went from {units.seconds(idle_before / 1e9)} to "
            f"{units.seconds(idle_after / 1e9)}."
        )
    return found


def _told(change: GroupChange) -> str:
    if change.ratio is None:
        return f"{change.name}, which is new: {units.seconds(change.after_s)}"
    if change.after_s == 0:
        return f"{change.name}, which is gone: it took {units.seconds(change.before_s)}"
    return (
        f"{change.name}: {units.seconds(change.before_s)} became {units.seconds(change.after_s)} "
        f"({units.times(change.ratio)})"
    )


def _change(before: float, after: float) -> str:
    if before <= 0:
        return "nothing to compare with"
    change = after / before - 1
    if abs(change) < _SAME:
        return "no change beyond 2 %"
    return f"{units.percent(abs(change))} {'slower' if change > 0 else 'faster'}"


def _doubts(one: _Side, other: _Side, groups: list[GroupChange], *, per_step: bool) -> list[Doubt]:
    doubts = []
    if one.devices != other.devices:
        doubts.append(
            Doubt(
                about="devices",
                sentence=(
                    f"One trace holds {one.devices} devices and the other {other.devices}: times "
                    "are means over the devices."
                ),
                remedy="Compare traces of the same number of devices.",
            )
        )
    doubts += [
        Doubt(
            about=f"work {when}",
            sentence=side.lost,
            remedy="Record both whole: kernels and groups are compared as far as they go.",
        )
        for when, side in (("before", one), ("after", other))
        if side.lost
    ]
    if not (one.timed and other.timed):
        doubts.append(
            Doubt(
                about="times",
                sentence=(
                    "A file is a summary, which does not say when kernels ran: its whole time is "
                    "the sum of their durations."
                ),
                remedy="Compare kernels and groups alone, or record traces.",
            )
        )
    compute = [each for each in groups if each.before_calls and each.after_calls]
    calls = [sum(each.before_calls for each in compute), sum(each.after_calls for each in compute)]
    if min(calls, default=0) and max(calls) / min(calls) > _ALIKE_CALLS:
        doubts.append(
            Doubt(
                about="work",
                sentence=(
                    f"{calls[0]} kernels ran before and {calls[1]} after: the traces may not hold "
                    "the same amount of work."
                ),
                remedy=(
                    "Compare the same model and batch."
                    if per_step
                    else "Record with torch.profiler's step(), so that one step is compared."
                ),
            )
        )
    return doubts
