"""Runs on other numbers of devices, on the terminal."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from topout.records import TraceRuns
from topout.report.side_by_side import grid_tables
from topout.report.trace.grid import Grid
from topout.report.trace.runs_rows import (
    groups_grid,
    runs_grid,
    runs_headline,
    runs_reasons,
    work_grid,
)
from topout.report.trace.table import absent, bulleted, doubts, without_controls

_MOST_DEVICES = 32  # rows of devices; the page and the record have all


def trace_runs_table(report: TraceRuns) -> RenderableType:
    """A renderable of the whole comparison, legible from 80 columns on."""
    return _Runs(report)


class _Runs:
    """Written when the width is known: wide grids are cut into several."""

    def __init__(self, report: TraceRuns) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from without_controls(console, options, self._parts(options.max_width))

    def _parts(self, width: int) -> Iterator[RenderableType]:
        report = self._report
        yield Padding(Text(runs_headline(report), style="bold"), (1, 0, 0, 0))
        yield from _grid("The runs", runs_grid(report.runs), width)
        yield from _grid("Groups, all devices in sum", groups_grid(report.runs), width)
        work = work_grid(report.runs)
        shown = Grid(work.columns, work.rows[:_MOST_DEVICES])
        yield from _grid("Work of each device, over the median of the others", shown, width)
        if len(work.rows) > _MOST_DEVICES:
            yield Text(f"{len(work.rows) - _MOST_DEVICES} more in --json.", style="dim")
        yield from bulleted("Findings", "•", [Text(finding) for finding in report.findings])
        yield from doubts(report.doubts)
        yield from absent(runs_reasons(report))


def _grid(title: str, grid: Grid, width: int) -> Iterator[RenderableType]:
    if grid.rows:
        yield Text(f"\n{title}", style="bold")
        yield from grid_tables(grid.columns, grid.rows, width)
