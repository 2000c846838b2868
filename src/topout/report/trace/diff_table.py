"""Two traces compared, on the terminal: per group and per kernel, what got slower."""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from topout.records import GroupChange, TraceDiff
from topout.report.trace.diff_rows import (
    CHANGE_COLUMNS,
    ChangeRow,
    change_rows,
    diff_headline,
    diff_subject,
)
from topout.report.trace.table import absent, bulleted, doubts, without_controls
from topout.report.trace.words import short_kernel


def trace_diff_table(diff: TraceDiff, top: int = 10) -> RenderableType:
    """A renderable of the whole comparison, legible from 80 columns on, with `top` kernels."""
    return _Diff(diff, top)


class _Diff:
    """Written when the width is known."""

    def __init__(self, diff: TraceDiff, top: int) -> None:
        self._diff = diff
        self._top = top

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from without_controls(console, options, self._parts())

    def _parts(self) -> Iterator[RenderableType]:
        diff = self._diff
        yield Padding(Text(diff_subject(diff), style="dim"), (1, 0))
        yield Text(diff_headline(diff), style="bold")
        yield from _changes("Kernel groups", diff.groups, None)
        yield from _changes("Kernels", diff.kernels, self._top)
        yield from bulleted("Findings", "•", [Text(finding) for finding in diff.findings])
        yield from doubts(diff.doubts)
        yield from absent(diff.reasons)


def _changes(
    title: str, changes: Sequence[GroupChange], most: int | None
) -> Iterator[RenderableType]:
    if not changes:
        return
    yield Text(f"\n{title}, the largest change first", style="bold")
    table = Table(
        Column("", overflow="fold", ratio=1),
        *(Column(name, justify="right", no_wrap=True) for name in _heads()),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        expand=True,
    )
    for row in change_rows(changes, most):
        table.add_row(*_cells(row))
    yield table
    if most is not None and len(changes) > most:
        yield Text(f"{len(changes) - most} more in --json.", style="dim")


def _heads() -> list[str]:
    return [name.replace(", ", "\n") for name in CHANGE_COLUMNS]


def _cells(row: ChangeRow) -> list[RenderableType]:
    style = "yellow" if row.slower else "green" if row.faster else ""
    return [
        Text(short_kernel(row.name)),
        Text(row.before),
        Text(row.after),
        Text(row.change, style=style),
        Text(row.ratio),
        Text(row.calls),
    ]
