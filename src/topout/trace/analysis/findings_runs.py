"""Sentences over runs of the same program on more and more devices: does it scale, and why not."""

from collections.abc import Sequence
from itertools import pairwise

from topout import units
from topout.records.trace import TraceReport
from topout.trace.analysis.findings import unlike_devices
from topout.trace.analysis.run_work import RunWork, run_work, scaling

_LINEAR = 0.9  # efficiency from which scaling counts as linear


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
