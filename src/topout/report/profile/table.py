"""A profile on the terminal: per phase its operators, parts, rates and gaps, then findings."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from topout.records import PhaseProfile, ProfileReport
from topout.report.profile.rows import (
    device_rows,
    gap_rows,
    memory_rows,
    operator_rows,
    part_rows,
    rate_rows,
    short_name,
    thread_rows,
)
from topout.report.profile.words import (
    accounted_sentence,
    headlines,
    slowdown_sentence,
    subject_sentence,
)

_MOST_OPERATORS, _MOST_PARTS, _MOST_RATES, _MOST_GAPS = 12, 12, 8, 4
_PARTS = ("Part", "Self", "Time", "Operators", "Gaps")
_RATES = ("Work", "Time", "FLOP/s", "of it", "B/s", "of it", "F/B")


def profile_table(report: ProfileReport) -> RenderableType:
    """A renderable of the whole result, for 80 columns and up."""
    return Group(*_pieces(report))


def _pieces(report: ProfileReport) -> Iterator[RenderableType]:
    yield Padding(
        Text.assemble(
            (report.subject, "bold"),
            f", {subject_sentence(report)}; {report.machine.cpu_model}",
        ),
        (1, 0),
    )
    for number, sentence in enumerate(headlines(report)):
        yield Text(sentence, style="bold" if number == 0 else "")
    for phase in report.phases:
        yield from _phase(phase)
    if report.memory:
        yield Text("\nMemory", style="bold")
        columns = ("", "Allocated", "Reserved", "Resident", "Free")
        yield _table(columns, memory_rows(report))
    yield from _sentences(report)


def _phase(phase: PhaseProfile) -> Iterator[RenderableType]:
    passes = f", {phase.passes} passes" if phase.passes > 1 else ""
    yield Text(f"\n{phase.name.capitalize()}{passes}", style="bold underline")
    yield Text(accounted_sentence(phase))
    yield Text(slowdown_sentence(phase), style="dim")
    yield Text()
    yield _operators(phase)
    yield from _section("By part", _PARTS, [row[:5] for row in part_rows(phase)[:_MOST_PARTS]])
    rates = [row[:7] for row in rate_rows(phase, _MOST_RATES)]
    yield from _section("Against the measured ceilings", _RATES, rates)
    yield from _section("Gaps", ("In", "Share", "Time"), gap_rows(phase)[:_MOST_GAPS])
    columns = ("Thread, unprofiled", "User", "System", "Waiting", "Wall")
    yield from _section("Elapsed time", columns, thread_rows(phase))
    yield from _section(
        "Devices", ("GPU", "Busy", "Utilization", "Occupancy", "Idle"), device_rows(phase)
    )


def _operators(phase: PhaseProfile) -> Table:
    table = Table(
        Column("Operator", overflow="fold", min_width=18),
        *(
            Column(name, justify="right", no_wrap=True)
            for name in ("Self", "Time", "Total", "Mean", "Calls")
        ),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for row in operator_rows(phase, _MOST_OPERATORS):
        name = Text(short_name(row.name))
        if row.shapes:
            name.append(f"\n  {row.shapes[0]}", style="dim")
        cells = (row.self_share, row.self_time, row.total, row.mean, row.calls)
        table.add_row(name, *(Text(cell) for cell in cells))
    return table


def _section(
    title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> Iterator[RenderableType]:
    if rows:
        yield Text(f"\n{title}", style="bold")
        yield _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(
        Column(columns[0], overflow="fold", min_width=14),
        *(Column(name, justify="right", no_wrap=True) for name in columns[1:]),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _sentences(report: ProfileReport) -> Iterator[RenderableType]:
    if report.findings:
        yield Text("\nFindings", style="bold")
        for finding in report.findings:
            yield _bullet("•", Text(finding))
    if report.doubts:
        yield Text("\nDoubts", style="bold")
        for doubt in report.doubts:
            text = Text.assemble(
                (f"{doubt.about}: ", "yellow"), doubt.sentence, " ", (doubt.remedy, "dim")
            )
            yield _bullet("?", text)


def _bullet(mark: str, text: Text) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(mark, text)
    return grid
