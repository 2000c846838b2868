"""Runs on other numbers of devices, as grids of text and in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from topout import units
from topout.records import TracedRun, TraceRuns
from topout.report.trace.grid import Grid, Measure
from topout.report.trace.measures import names_by_total
from topout.report.trace.words import device_labels, milliseconds

WORK_COLUMNS = ["Device", "Work, ms", "of the others", "Matrix-mul, ms", "of the others"]


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device of one run: its name over all runs, and the run and device it stands for."""

    label: str
    run: TracedRun
    place: int  # of the device in the run


def run_labels(runs: Sequence[TracedRun]) -> list[str]:
    """A name for each run: its own."""
    return [run.name for run in runs]


def device_rows(runs: Sequence[TracedRun]) -> list[DeviceRow]:
    """Every device of every run."""
    return [
        DeviceRow(f"{run.name}, {label}", run, place)
        for run in runs
        for place, label in enumerate(device_labels(run.ranks))
    ]


def runs_grid(runs: Sequence[TracedRun]) -> Grid:
    """A column for each run: devices, time, what it goes into, work, speedup."""

    def row(name: str, of: Callable[[TracedRun], str]) -> list[str]:
        return [name, *(of(run) for run in runs)]

    return Grid(
        ["", *run_labels(runs)],
        [
            row("Devices", lambda run: str(run.devices)),
            row("Wall, ms", lambda run: milliseconds(run.wall_s)),
            row("Busy, all devices, ms", lambda run: milliseconds(run.busy_s)),
            row("  compute", lambda run: units.percent(run.compute_share, 1)),
            row("  communication", lambda run: units.percent(run.communication_share, 1)),
            row("  copies and fills", lambda run: units.percent(run.memory_share, 1)),
            row("Idle, mean of devices", lambda run: units.percent(_idle_share(run), 1)),
            row("Work, all devices, ms", lambda run: milliseconds(run.work_s)),
            row("  of the first run's", lambda run: units.times(run.work_ratio)),
            row("Speedup", lambda run: units.times(run.speedup)),
            row("Efficiency", lambda run: units.percent(run.efficiency)),
        ],
    )


def _idle_share(run: TracedRun) -> float | None:
    shares = [
        each.idle_s / each.wall_s
        for each in run.ranks
        if each.idle_s is not None and each.wall_s > 0
    ]
    return fmean(shares) if len(shares) == run.devices else None


def groups_grid(runs: Sequence[TracedRun]) -> Grid:
    """Time of each group in sum over the devices of each run, with its share."""
    found = [{group.name: group.total_s for group in run.groups} for run in runs]
    wholes = [sum(groups.values()) for groups in found]
    measures = [
        Measure(name, [groups.get(name, 0.0) for groups in found], milliseconds, wholes)
        for name in names_by_total(found)
    ]
    return Grid(
        ["ms", *run_labels(runs)],
        [
            [measure.name, *(measure.text(number) for number in range(len(runs)))]
            for measure in measures
        ],
    )


def work_grid(runs: Sequence[TracedRun]) -> Grid:
    """A row for each device of the runs on several: its work, and how it compares with others'."""
    rows = []
    for row in device_rows([run for run in runs if run.devices > 1]):
        share = row.run.by_device[row.place]
        rows.append(
            [
                row.label,
                milliseconds(share.work_s),
                units.times(share.work_ratio),
                milliseconds(share.matrix_s),
                units.times(share.matrix_ratio),
            ]
        )
    return Grid(WORK_COLUMNS, rows)


def runs_headline(report: TraceRuns) -> str:
    """What the run on the most devices gains over the first, or that none can be claimed."""
    first, last = report.runs[0], report.runs[-1]
    if first.devices == last.devices:
        return f"All runs are on {_devices(first.devices)}: scaling cannot be told."
    span = f"From {first.devices} to {_devices(last.devices)}"
    moving = (
        f"communication and copies take {units.percent(last.moving_share)} of the work, after "
        f"{units.percent(first.moving_share)}"
    )
    if last.speedup is None:
        return f"{span} no speedup is claimed; {moving}."
    return (
        f"{span} it is {units.times(last.speedup)} as fast, an efficiency of "
        f"{units.percent(last.efficiency)}; {moving}."
    )


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def runs_reasons(report: TraceRuns) -> dict[str, str]:
    """What is not known of which run."""
    reasons = dict(report.reasons)
    for run in report.runs:
        names: dict[str, list[str]] = {}
        for name, reason in run.reasons.items():
            names.setdefault(reason, []).append(name)
        for reason, of in names.items():
            reasons[f"{run.name}, {' and '.join(of)}"] = reason
    return reasons
