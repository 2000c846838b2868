"""Runs of one program on more and more devices, side by side: does it scale, and why not.

Two runs are compared where they hold the same work: time on all devices but for moving data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from msgspec.structs import replace

from topout import units
from topout.errors import InputError
from topout.records.record import Doubt, stamp
from topout.records.trace import (
    DeviceShare,
    DeviceTime,
    GroupTime,
    TracedRun,
    TraceReport,
    TraceRuns,
)
from topout.trace.analysis.findings import is_whole, unlike_devices
from topout.trace.analysis.groups import COMMUNICATION, MATRIX_MUL, MEMORY
from topout.trace.table import HOST_DEVICE

# Groups that move data: collectives, copies and fills, under the names of either set of rules.
# Kernels that copy, cast or transpose within a device are compute, as in the breakdown.
MOVING = frozenset({COMMUNICATION, MEMORY, "memory_mgmt"})
# Device time beside communication that runs of one amount of work may differ by: kernels get
# slower on smaller parts and faster where caches hold more, by less than this.
_SAME_WORK = 1.5
_EXAMPLES = 3
_LINEAR = 0.9  # efficiency from which scaling counts as linear


@dataclass(frozen=True)
class RunWork:
    """Sums over the devices of one run."""

    devices: int
    work_s: float  # time on all devices, in all but what moves data
    matrix_s: float
    moving_s: float
    longest_s: float  # the device that took longest, with what moves data
    is_timed: bool  # False: a summary, of which the longest time is not known
    is_whole: bool  # False: work was launched that was not recorded
    shares: tuple[float, ...]  # of moving data, per device

    @property
    def share(self) -> float:
        """Part of all devices' time that goes into moving data."""
        whole = self.work_s + self.moving_s
        return self.moving_s / whole if whole else 0.0


@dataclass(frozen=True)
class Scaling:
    """One run over another on fewer devices; without a speedup there is a reason."""

    growth: float  # of the number of devices
    work_ratio: float | None
    speedup: float | None
    reason: str = ""

    @property
    def efficiency(self) -> float | None:
        """Speedup over the growth of devices."""
        return None if self.speedup is None else self.speedup / self.growth


def run_work(report: TraceReport) -> RunWork:
    """The sums of a report that has devices."""
    ranks = report.ranks
    return RunWork(
        devices=len(ranks),
        work_s=sum(map(_work, ranks)),
        matrix_s=sum(map(_matrix, ranks)),
        moving_s=sum(map(_moving, ranks)),
        longest_s=max(each.wall_s for each in ranks),
        is_timed=all(each.exposed_communication_s is not None for each in ranks),
        is_whole=is_whole(ranks),
        shares=tuple(_moving(each) / _total(each) if _total(each) else 0.0 for each in ranks),
    )


def scaling(fewer: RunWork, more: RunWork) -> Scaling:
    """The speedup of `more` over `fewer`, where both hold the same work.

    Work is the time that all devices together spend, matrix products first: where it differs by
    more than half again, the runs do not hold the same work, and there is no speedup.
    """
    growth = more.devices / fewer.devices
    if not (fewer.is_whole and more.is_whole):
        return Scaling(growth, None, None, "a recording lacks work that was launched")
    ratio = _work_ratio(fewer, more)
    if ratio is None:
        return Scaling(growth, None, None, "the traces hold no work to compare")
    if not 1 / _SAME_WORK <= ratio <= _SAME_WORK:
        return Scaling(growth, ratio, None, _unlike_work(fewer, more, growth, ratio))
    if not (fewer.is_timed and more.is_timed):
        return Scaling(growth, ratio, None, "a summary does not say how long its run took")
    if not more.longest_s:
        return Scaling(growth, ratio, None, "a run without duration has no speed")
    return Scaling(growth, ratio, fewer.longest_s / more.longest_s)


def _unlike_work(fewer: RunWork, more: RunWork, growth: float, ratio: float) -> str:
    weak = growth / _SAME_WORK <= ratio <= growth * _SAME_WORK
    hint = (
        f". It fits a problem that grows with the devices ({units.times(growth)})"
        if weak and ratio > 1
        else ""
    )
    return (
        "the runs do not hold the same work, all devices together compute for "
        f"{units.seconds(more.work_s)} against {units.seconds(fewer.work_s)} "
        f"({units.times(ratio)}){hint}"
    )


def _work_ratio(fewer: RunWork, more: RunWork) -> float | None:
    """Work of the second over that of the first: the worse of matrix products and all work."""
    pairs = [(fewer.matrix_s, more.matrix_s), (fewer.work_s, more.work_s)]
    ratios = [after / before for before, after in pairs if before > 0 and after > 0]
    return max(ratios, key=lambda ratio: max(ratio, 1 / ratio), default=None)


def device_shares(ranks: Sequence[DeviceTime]) -> list[DeviceShare]:
    """The work of each device, and how it compares with the median of the others."""
    work, matrix = [_work(each) for each in ranks], [_matrix(each) for each in ranks]
    return [
        DeviceShare(
            rank=each.rank,
            device=each.device,
            work_s=work[place],
            work_ratio=_over_others(work, place),
            matrix_s=matrix[place],
            matrix_ratio=_over_others(matrix, place),
        )
        for place, each in enumerate(ranks)
    ]


def _over_others(times: Sequence[float], place: int) -> float | None:
    others = [time for other, time in enumerate(times) if other != place]
    usual = median(others) if others else 0.0
    return times[place] / usual if usual else None


def _total(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups)


def _moving(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups if group.name in MOVING)


def _work(each: DeviceTime) -> float:
    return _total(each) - _moving(each)


def _matrix(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups if group.name == MATRIX_MUL)


def runs_side_by_side(named: Sequence[tuple[str, TraceReport]]) -> TraceRuns:
    """Each run's time, work and speedup over the run on the fewest devices, which stands first.

    Raises InputError for fewer than two runs, and where some hold devices and others the host.
    """
    if len(named) < 2:
        raise InputError("there are no two runs to compare.", "Give the traces of two runs.")
    _refuse_unlike(named)
    named = [(name, _one_cycle(report)) for name, report in named]
    ordered = sorted(named, key=lambda run: len(run[1].ranks))
    first = ordered[0]
    return TraceRuns(
        **stamp(),
        runs=[_traced_run(name, report, first) for name, report in ordered],
        findings=findings_over_runs([report for _, report in ordered]),
        doubts=_doubts(ordered),
    )


def _one_cycle(report: TraceReport) -> TraceReport:
    """The report with one cycle of each rank's profiler, that of median length, for all of them."""
    cycles = sorted({each.cycle for each in report.ranks if each.cycle is not None})
    if not cycles:
        return report
    walls = {
        cycle: max(each.wall_s for each in report.ranks if each.cycle == cycle) for cycle in cycles
    }
    chosen = sorted(cycles, key=lambda cycle: walls[cycle])[(len(cycles) - 1) // 2]
    doubt = Doubt(
        about="cycles",
        sentence=(
            f"Of {len(cycles)} cycles of the profiler cycle {chosen}, of median length, stands for "
            "the run."
        ),
        remedy="Give the files of the cycle that you want compared.",
    )
    ranks = [replace(each, cycle=None) for each in report.ranks if each.cycle in (None, chosen)]
    return replace(report, ranks=ranks, doubts=[*report.doubts, doubt])


def _refuse_unlike(named: Sequence[tuple[str, TraceReport]]) -> None:
    on_host = [
        name for name, report in named if all(each.device == HOST_DEVICE for each in report.ranks)
    ]
    if on_host and len(on_host) < len(named):
        raise InputError(
            f"{on_host[0]} holds no work of a device, and other runs do.",
            "Compare runs that all recorded the device, or all the host alone.",
        )


def _traced_run(name: str, report: TraceReport, first: tuple[str, TraceReport]) -> TracedRun:
    work = run_work(report)
    busy_s = sum(each.busy_s for each in report.ranks)
    base = run_work(first[1])
    scaled = scaling(base, work)
    speedup, efficiency, reason = scaled.speedup, scaled.efficiency, scaled.reason
    if report is first[1]:
        reason = "Speedups are over this run."
    elif work.devices == base.devices:
        reason = (
            f"{name} ran on as many devices as {first[0]}: topout trace diff tells what got slower."
        )
    elif reason:
        reason = f"Over {first[0]}: {reason}."
    if reason:
        speedup = efficiency = None

    def share(part_s: float) -> float:
        return part_s / busy_s if busy_s else 0.0

    return TracedRun(
        name=name,
        files=report.files,
        format=report.format,
        devices=work.devices,
        ranks=[replace(each, kernels=[], memory=[], critical_path=[]) for each in report.ranks],
        wall_s=work.longest_s,
        busy_s=busy_s,
        compute_share=share(sum(each.compute_s for each in report.ranks)),
        communication_share=share(sum(each.communication_s for each in report.ranks)),
        memory_share=_memory_share(report.ranks, busy_s),
        moving_share=work.share,
        work_s=work.work_s,
        groups=groups_over_devices(report.ranks),
        by_device=device_shares(report.ranks),
        work_ratio=scaled.work_ratio,
        speedup=speedup,
        efficiency=efficiency,
        reasons={"speedup": reason, "efficiency": reason} if reason else {},
    )


def _memory_share(ranks: Sequence[DeviceTime], busy_s: float) -> float | None:
    known = [each.memory_s for each in ranks if each.memory_s is not None]
    if len(known) < len(ranks):
        return None
    return sum(known) / busy_s if busy_s else 0.0


def groups_over_devices(ranks: Sequence[DeviceTime]) -> list[GroupTime]:
    """Each group's time in sum over the devices, the longest first."""
    found: dict[str, list[GroupTime]] = {}
    for each in ranks:
        for group in each.groups:
            found.setdefault(group.name, []).append(group)
    whole = sum(group.total_s for groups in found.values() for group in groups)
    summed = [
        GroupTime(
            name=name,
            calls=sum(group.calls for group in groups),
            total_s=sum(group.total_s for group in groups),
            share=sum(group.total_s for group in groups) / whole if whole else 0.0,
            examples=_examples(groups),
        )
        for name, groups in found.items()
    ]
    return sorted(summed, key=lambda group: (-group.total_s, group.name))


def _examples(groups: Sequence[GroupTime]) -> list[str]:
    names = dict.fromkeys(name for group in groups for name in group.examples)
    return list(names)[:_EXAMPLES]


def _doubts(named: Sequence[tuple[str, TraceReport]]) -> list[Doubt]:
    """Those of each run, and where the runs were not recorded alike."""
    doubts = [
        replace(doubt, about=f"{name}, {doubt.about}")
        for name, report in named
        for doubt in report.doubts
    ]
    devices = sorted({each.name for _, report in named for each in report.ranks if each.name})
    if len(devices) > 1:
        doubts.append(
            Doubt(
                about="devices",
                sentence=f"The runs were on other kinds of devices: {', '.join(devices)}.",
                remedy="Compare runs on devices of one kind.",
            )
        )
    formats = sorted({report.format for _, report in named})
    if len(formats) > 1:
        doubts.append(
            Doubt(
                about="formats",
                sentence=f"The runs were recorded in several ways: {', '.join(formats)}.",
                remedy="Record all runs with one profiler: each slows them in its own way.",
            )
        )
    return doubts


def findings_over_runs(reports: Sequence[TraceReport]) -> list[str]:
    """How communication grows, which device differs, and the speedup where runs can be compared.

    Runs are compared by the time that all devices together spend on work, matrix products first:
    where it differs by more than half again, the runs do not hold the same work, and no speedup
    is claimed. Fewer than two runs, or runs of one number of devices, give no sentence on scaling.
    """
    present = sorted((each for each in reports if each.ranks), key=lambda each: len(each.ranks))
    runs = [run_work(report) for report in present]
    found = _growth(runs)
    for report in present:
        if len(report.ranks) > 1:
            found += unlike_devices(report.ranks, f" of the run on {len(report.ranks)} devices")
    for fewer, more in pairwise(runs):
        if fewer.devices < more.devices:
            found.append(_compared(fewer, more))
    if len(runs) > 2 and runs[0].devices < runs[-1].devices:
        found.append(_compared(runs[0], runs[-1]))
    return found


def _growth(runs: Sequence[RunWork]) -> list[str]:
    """Share of communication and copies by the number of devices."""
    if len({run.devices for run in runs}) < 2 or not all(run.is_whole for run in runs):
        return []
    told = ", ".join(
        f"{units.percent(run.share, 1)} on {_devices(run.devices)}{_range(run)}" for run in runs
    )
    first, last = runs[0].share, runs[-1].share
    grows = "grows with the number of devices" if last > first else "does not grow with devices"
    return [f"Communication and copies take {told} of the device time: the share {grows}."]


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def _range(run: RunWork) -> str:
    low, high = min(run.shares), max(run.shares)
    if run.devices == 1 or high - low < 0.01:
        return ""
    return f" ({units.percent(low)} to {units.percent(high)} by device)"


def _compared(fewer: RunWork, more: RunWork) -> str:
    """The speedup from one run to the next, or why none is claimed."""
    pair = f"from {fewer.devices} to {_devices(more.devices)}"
    scaled = scaling(fewer, more)
    efficiency = scaled.efficiency
    if efficiency is None:
        return f"No speedup is claimed {pair}: {scaled.reason}."
    if efficiency > 1 / _LINEAR:
        verdict = "more than devices alone explain; the runs may not hold quite the same work"
    elif efficiency >= 1:
        verdict = "scaling is linear or better"
    elif efficiency >= _LINEAR:
        verdict = "scaling is nearly linear"
    else:
        verdict = _why_not_linear(fewer, more)
    return (
        f"The speedup {pair} is {units.times(scaled.speedup)} by the device that takes longest, an "
        f"efficiency of {units.percent(efficiency)}: {verdict}."
    )


def _why_not_linear(fewer: RunWork, more: RunWork) -> str:
    moved, moved_before = more.moving_s / more.devices, fewer.moving_s / fewer.devices
    if moved <= moved_before:
        return "scaling is not linear, because work is not spread evenly or grew"
    return (
        "scaling is not linear: each device spends "
        f"{units.seconds(moved)} on communication and copies against {units.seconds(moved_before)}"
    )
