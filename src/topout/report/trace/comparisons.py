"""Traces compared, as documents: what got slower, and does it scale?"""

from collections.abc import Callable, Sequence
from functools import cache
from statistics import fmean

from topout import units
from topout.records import GroupChange, TraceDiff, TracedRun, TraceRuns
from topout.report.document import (
    Absent,
    Cell,
    Chart,
    Column,
    Document,
    Figures,
    Part,
    Row,
    Section,
    Style,
    Table,
    Tile,
    table_of,
)
from topout.report.trace.document import NOT_TOLD, by_reason
from topout.report.trace.measures import (
    Measure,
    device_rows,
    largest_changes,
    milliseconds,
    names_by_total,
    short_names,
    signed,
)

_MOST_GROUPS = 20
_DIFF_TERMS = {
    "Of one step, of the whole trace": "Where both traces mark their training or generation steps, "
    "all times are those of one step, so that traces of different length compare. Where one does "
    "not, they are those of the whole trace, and both must hold the same work.",
    "New, gone": "A kernel that only one of the traces has. Another library or GPU has other "
    "kernels for the same work: the groups tell whether that work got slower.",
    "Calls": "How often it ran, before and after. More calls of the same mean time are more work, "
    "or the same work in smaller pieces.",
}


def trace_diff_document(diff: TraceDiff, top: int = 10) -> Document:
    """The report of a comparison, with charts of the `top` kernels."""
    return Document(
        record=diff,
        title="What got slower?",
        about=_diff_subject(diff),
        headlines=[_headline(diff)],
        tiles=_diff_tiles(diff),
        lead=[_changes("groups", "Kernel groups", diff.groups, _MOST_GROUPS, None)],
        parts=[_changes("kernels", "Kernels", diff.kernels, top, top)],
        findings=diff.findings,
        doubts=diff.doubts,
        absent=Absent(diff.reasons, NOT_TOLD),
        terms=[*_DIFF_TERMS.items()],
    )


def _diff_subject(diff: TraceDiff) -> str:
    of = "one step" if diff.per_step else "the whole trace"
    return f"before: {diff.before}; after: {diff.after}; times are those of {of}, mean of devices"


def _headline(diff: TraceDiff) -> str:
    """How the whole changed, in one sentence; on another device that comes first."""
    what = "A step takes" if diff.per_step else "The trace spans"
    one, other = ", ".join(diff.devices_before), ", ".join(diff.devices_after)
    if one and other and one != other:
        what = f"On {other} instead of {one}: {what[:1].lower()}{what[1:]}"
    before, after = units.seconds(diff.wall_before_s), units.seconds(diff.wall_after_s)
    if not diff.wall_before_s or diff.wall_after_s == diff.wall_before_s:
        return f"{what} {after}, and took {before}."
    change = abs(diff.wall_after_s / diff.wall_before_s - 1)
    words = "longer" if diff.wall_after_s > diff.wall_before_s else "shorter"
    return f"{what} {after}, where it took {before}: {units.percent(change, 1)} {words}."


def _diff_tiles(diff: TraceDiff) -> list[Tile]:
    of = "one step" if diff.per_step else "the whole trace"
    change = diff.wall_after_s - diff.wall_before_s
    ratio = diff.wall_after_s / diff.wall_before_s if diff.wall_before_s else None
    return [
        Tile("before", units.seconds(diff.wall_before_s), detail=of),
        Tile("after", units.seconds(diff.wall_after_s), detail=of),
        Tile("change", f"{signed(change)} ms", detail=f"{units.times(ratio)} the time"),
    ]


def _changes(
    key: str, title: str, changes: Sequence[GroupChange], drawn: int, most: int | None
) -> Section:
    """The changes, the largest in either direction first; `most` of them on a terminal."""

    def chart() -> Sequence[Chart]:
        from topout.report.trace.charts import change_chart

        return [change_chart(key, title, changes, drawn)]

    short = short_names(each.name for each in changes)
    table = table_of(
        largest_changes(changes),
        [
            (Column("", text=True), lambda each: Cell(each.name, short=short[each.name])),
            ("Before,\nms", lambda each: milliseconds(each.before_s)),
            ("After,\nms", lambda each: milliseconds(each.after_s)),
            ("Change,\nms", _signed),
            ("Ratio", _ratio),
            ("Calls", _calls),
        ],
        most=most,
    )
    parts: list[Part] = [table]
    if any(each.change_s for each in changes):
        parts.insert(0, Figures(chart, titled=False))
    return Section(f"{title}, the largest change first", parts, key=f"{key}_section")


def _signed(each: GroupChange) -> Cell:
    style: Style = "rejected" if each.change_s > 0 else "kept" if each.change_s < 0 else ""
    return Cell(signed(each.change_s), style=style)


def _calls(each: GroupChange) -> str:
    alike = each.before_calls == each.after_calls
    return f"{each.after_calls:,}" if alike else f"{each.before_calls:,} → {each.after_calls:,}"


def _ratio(each: GroupChange) -> str:
    if each.after_calls == 0 and each.before_calls:
        return "gone"
    return "new" if each.ratio is None else units.times(each.ratio)


_MOST_DEVICES = 32  # rows of devices on a terminal
_RUN_TERMS = {
    "Work": "Durations in sum over all devices, of everything but communication, copies and fills. "
    "Runs of one problem hold about the same, however many devices share it.",
    "The same work": "A speedup is claimed only where work, and matrix products for themselves, "
    "differ by no more than half again. Otherwise one run did more than the other, and the ratio "
    "of their times says nothing about scaling.",
    "Speedup and efficiency": "The time of the first run over that of this one, each by the device "
    "that takes longest; efficiency is the speedup over the growth of devices.",
    "Of the others": "A device's work over the median of the other devices of its run: far from 1, "
    "the work is not spread evenly, and all wait for the device that has the most.",
}


def trace_runs_document(report: TraceRuns) -> Document:
    """The report of a comparison of runs."""

    @cache
    def charts() -> dict[str, Chart]:
        from topout.report.trace.time_charts import runs_charts

        return runs_charts(report)

    def draw(key: str, titled: bool) -> Figures:
        return Figures(lambda: [charts()[key]], titled=titled)

    runs = report.runs
    return Document(
        record=report,
        title="Does it scale, and what eats the gain?",
        about=", ".join(f"{run.name}: {units.counted(run.devices, 'device')}" for run in runs),
        headlines=[runs_headline(report)],
        tiles=_run_tiles(report),
        lead=[
            draw("shares", True),
            Section("The runs", [_runs(runs)], key="runs_section"),
        ],
        parts=[
            Section(
                "Groups, all devices in sum",
                [draw("groups", False), _groups(runs)],
                key="groups_section",
            ),
            Section(
                "Work of each device, over the median of the others",
                [_work(runs)],
                key="work_section",
            ),
        ],
        findings=report.findings,
        doubts=report.doubts,
        absent=Absent(_reasons(report), NOT_TOLD),
        terms=[*_RUN_TERMS.items()],
    )


def runs_headline(report: TraceRuns) -> str:
    """What the run on the most devices gains over the first, or that none can be claimed."""
    first, last = report.runs[0], report.runs[-1]
    if first.devices == last.devices:
        return f"All runs are on {units.counted(first.devices, 'device')}: scaling cannot be told."
    span = f"From {first.devices} to {units.counted(last.devices, 'device')}"
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


def _run_tiles(report: TraceRuns) -> list[Tile]:
    """The run on the most devices beside the first."""
    first, last = report.runs[0], report.runs[-1]
    on = f"on {units.counted(last.devices, 'device')}"
    over = f"over {units.counted(first.devices, 'device')}" if last.speedup else "not claimed"
    before = f"{on}; {units.seconds(first.wall_s)} before"
    moving = f"{on}; {units.percent(first.moving_share)} before"
    return [
        Tile("time", units.seconds(last.wall_s), detail=before),
        Tile("speedup", units.times(last.speedup), detail=over),
        Tile("efficiency", units.percent(last.efficiency), detail="speedup over growth of devices"),
        Tile("communication and copies", units.percent(last.moving_share), detail=moving),
    ]


def _runs(runs: Sequence[TracedRun]) -> Table:
    """A column for each run: devices, time, what it goes into, work, speedup."""

    def row(name: str, of: Callable[[TracedRun], str]) -> Row:
        return Row([name, *(of(run) for run in runs)])

    rows = [
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
    ]
    columns = [Column("", text=True), *(Column(run.name) for run in runs)]
    return Table(columns, rows, side_by_side=True)


def _idle_share(run: TracedRun) -> float | None:
    shares = [
        each.idle_s / each.wall_s
        for each in run.ranks
        if each.idle_s is not None and each.wall_s > 0
    ]
    return fmean(shares) if len(shares) == run.devices else None


def _groups(runs: Sequence[TracedRun]) -> Table:
    """Time of each group in sum over the devices of each run, with its share."""
    found = [{group.name: group.total_s for group in run.groups} for run in runs]
    wholes = [sum(groups.values()) for groups in found]
    measures = [
        Measure(name, [groups.get(name, 0.0) for groups in found], milliseconds, wholes)
        for name in names_by_total(found)
    ]
    rows = [
        Row([measure.name, *(measure.text(number) for number in range(len(runs)))])
        for measure in measures
    ]
    columns = [Column("ms", text=True), *(Column(run.name) for run in runs)]
    return Table(columns, rows, side_by_side=True)


def _work(runs: Sequence[TracedRun]) -> Table:
    """A row for each device of the runs on several: its work, and how it compares with others'."""
    rows = device_rows([run for run in runs if run.devices > 1])
    return table_of(
        [(row.label, row.run.by_device[row.place]) for row in rows],
        [
            (Column("Device", text=True), lambda row: row[0]),
            ("Work,\nms", lambda row: milliseconds(row[1].work_s)),
            ("of the\nothers", lambda row: units.times(row[1].work_ratio)),
            ("Matrix-mul,\nms", lambda row: milliseconds(row[1].matrix_s)),
            ("of the\nothers", lambda row: units.times(row[1].matrix_ratio)),
        ],
        most=_MOST_DEVICES,
    )


def _reasons(report: TraceRuns) -> dict[str, str]:
    """What is not known of which run."""
    return report.reasons | {
        f"{run.name}, {' and '.join(names)}": reason
        for run in report.runs
        for reason, names in by_reason(run.reasons).items()
    }
