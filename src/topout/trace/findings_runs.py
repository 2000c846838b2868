"""Sentences over runs of the same program on more and more devices: does it scale, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from topout import units
from topout.records.trace import DeviceTime, TraceReport
from topout.trace.findings import unlike_devices

# Groups that move data: collectives, copies and fills, under the names of either set of rules.
MOVING = frozenset({"communication", "memory", "memory_mgmt", "copy kernels"})
# Device time beside communication that runs of one amount of work may differ by: kernels get
# slower on smaller parts and faster where caches hold more, by less than this.
_SAME_WORK = 1.5
_LINEAR = 0.9  # efficiency from which scaling counts as linear


@dataclass(frozen=True)
class _Run:
    devices: int
    work_s: float  # time on all devices, in all but what moves data
    matrix_s: float
    longest_s: float  # the device that took longest, with what moves data
    shares: tuple[float, ...]  # of moving data, per device
    report: TraceReport

    @property
    def share(self) -> float:
        """Part of all devices' time that goes into moving data."""
        whole = sum(_total(each) for each in self.report.ranks)
        return sum(_moving(each) for each in self.report.ranks) / whole if whole else 0.0


def findings_over_runs(reports: Sequence[TraceReport]) -> list[str]:
    """How communication grows, which device differs, and the speedup where runs can be compared.

    Runs are compared by the time that all devices together spend on work, matrix products first:
    where it differs by more than half again, the runs do not hold the same work, and no speedup
    is claimed. Fewer than two runs, or runs of one number of devices, give no sentence on scaling.
    """
    runs = sorted((_run(report) for report in reports if report.ranks), key=lambda run: run.devices)
    found = _growth(runs)
    for run in runs:
        if run.devices > 1:
            found += unlike_devices(run.report.ranks, f" of the run on {run.devices} devices")
    for fewer, more in pairwise(runs):
        if fewer.devices < more.devices:
            found.append(_compared(fewer, more))
    if len(runs) > 2 and runs[0].devices < runs[-1].devices:
        found.append(_compared(runs[0], runs[-1]))
    return found


def _run(report: TraceReport) -> _Run:
    return _Run(
        devices=len(report.ranks),
        work_s=sum(_total(each) - _moving(each) for each in report.ranks),
        matrix_s=sum(
            group.total_s
            for each in report.ranks
            for group in each.groups
            if group.name == "matrix-mul"
        ),
        longest_s=max(each.wall_s for each in report.ranks),
        shares=tuple(
            _moving(each) / _total(each) if _total(each) else 0.0 for each in report.ranks
        ),
        report=report,
    )


def _total(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups)


def _moving(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups if group.name in MOVING)


def _growth(runs: Sequence[_Run]) -> list[str]:
    """Share of communication and copies by the number of devices."""
    if len({run.devices for run in runs}) < 2:
        return []
    told = ", ".join(
        f"{units.percent(run.share, 1)} on {_devices(run.devices)}{_range(run)}" for run in runs
    )
    first, last = runs[0].share, runs[-1].share
    grows = "grows with the number of devices" if last > first else "does not grow with devices"
    return [f"Communication and copies take {told} of the device time: the share {grows}."]


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def _range(run: _Run) -> str:
    low, high = min(run.shares), max(run.shares)
    if run.devices == 1 or high - low < 0.01:
        return ""
    return f" ({units.percent(low)} to {units.percent(high)} by device)"


def _compared(fewer: _Run, more: _Run) -> str:
    """The speedup from one run to the next, or why none is claimed."""
    pair = f"from {fewer.devices} to {_devices(more.devices)}"
    ratio = _work_ratio(fewer, more)
    if ratio is None:
        return f"No speedup is claimed {pair}: the traces hold no work to compare."
    growth = more.devices / fewer.devices
    if not 1 / _SAME_WORK <= ratio <= _SAME_WORK:
        weak = growth / _SAME_WORK <= ratio <= growth * _SAME_WORK
        hint = (
            f" It fits a problem that grows with the devices ({units.times(growth)})."
            if weak and ratio > 1
            else ""
        )
        return (
            f"No speedup is claimed {pair}: the runs do not hold the same work, all devices "
            f"together compute for {units.seconds(more.work_s)} against "
            f"{units.seconds(fewer.work_s)} ({units.times(ratio)}).{hint}"
        )
    speedup = fewer.longest_s / more.longest_s
    efficiency = speedup / growth
    if efficiency > 1 / _LINEAR:
        verdict = "more than devices alone explain; the runs may not hold quite the same work"
    elif efficiency >= 1:
        verdict = "scaling is linear or better"
    elif efficiency >= _LINEAR:
        verdict = "scaling is nearly linear"
    else:
        verdict = _why_not_linear(fewer, more)
    return (
        f"The speedup {pair} is {units.times(speedup)} by the device that takes longest, an "
        f"efficiency of {units.percent(efficiency)}: {verdict}."
    )


def _work_ratio(fewer: _Run, more: _Run) -> float | None:
    """Work of the second over that of the first: the worse of matrix products and all work."""
    pairs = [(fewer.matrix_s, more.matrix_s), (fewer.work_s, more.work_s)]
    ratios = [after / before for before, after in pairs if before > 0 and after > 0]
    return max(ratios, key=lambda ratio: max(ratio, 1 / ratio), default=None)


def _why_not_linear(fewer: _Run, more: _Run) -> str:
    moved = sum(_moving(each) for each in more.report.ranks) / more.devices
    moved_before = sum(_moving(each) for each in fewer.report.ranks) / fewer.devices
    if moved <= moved_before:
        return "scaling is not linear, because work is not spread evenly or grew"
    return (
        "scaling is not linear: each device spends "
        f"{units.seconds(moved)} on communication and copies against {units.seconds(moved_before)}"
    )
