"""A trace on the terminal: where the time goes, what is long, who waits for whom."""

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from topout import units
from topout.records import Doubt, TraceReport, Transfer
from topout.report.side_by_side import grid_tables
from topout.report.trace.grid import Grid, Measure, device_grid
from topout.report.trace.measures import (
    group_measures,
    idle_measures,
    path_measures,
    time_measures,
)
from topout.report.trace.reasons import all_reasons
from topout.report.trace.rows import (
    TRANSFER_COLUMNS,
    KernelTable,
    collective_rows,
    kernel_tables,
    kernels_over_devices,
    places_of,
    transfer_rows,
)
from topout.report.trace.words import (
    device_labels,
    headline,
    milliseconds,
    place_label,
    report_title,
    short_kernel,
    subject_sentence,
    work_noun,
)

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_MOST_KERNEL_TABLES = 4  # devices beyond which kernels are summed over all
_MOST_ENDS = 8  # of transfers in a matrix; of more the largest transfers are listed


def trace_table(report: TraceReport, top: int = 10) -> RenderableType:
    """A renderable of the whole report, legible from 80 columns on.

    `top` is how many kernels of a device are shown, and how many transfers between many devices.
    """
    return _Report(report, top)


class _Report:
    """Written when the width is known: wide grids are cut into several."""

    def __init__(self, report: TraceReport, top: int) -> None:
        self._report = report
        self._top = top

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from without_controls(console, options, self._parts(options.max_width))

    def _parts(self, width: int) -> Iterator[RenderableType]:
        report = self._report
        labels = device_labels(report.ranks)
        yield Padding(
            Text.assemble((report_title(report), "bold"), f": {subject_sentence(report)}"), (1, 0)
        )
        yield Text(headline(report), style="bold")

        def grid(title: str, measures: Sequence[Measure]) -> Iterator[RenderableType]:
            if measures:
                yield from _grid(title, device_grid("ms", labels, measures), width)

        yield from grid("Where the time goes", time_measures(report.ranks))
        yield from grid(f"Groups of {work_noun(report)}", group_measures(report.ranks))
        yield from _kernels(report, self._top)
        yield from _collectives(report)
        yield from _transfers(report, self._top, width)
        yield from grid("Idle: why", idle_measures(report.ranks))
        yield from grid("Critical path of a step", path_measures(report.ranks))
        yield from bulleted("Findings", "•", [Text(finding) for finding in report.findings])
        yield from doubts(report.doubts)
        yield from absent(all_reasons(report))


def without_controls(
    console: Console, options: ConsoleOptions, parts: Iterable[RenderableType]
) -> Iterator[Segment]:
    """The parts rendered, with what a terminal would obey replaced: names come from files."""
    for part in parts:
        for line in console.render_lines(part, options, pad=False):
            for segment in line:
                yield Segment(_CONTROL.sub("\ufffd", segment.text), segment.style)
            yield Segment.line()


def _grid(title: str, grid: Grid, width: int) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", style="bold")
    yield from grid_tables(grid.columns, grid.rows, width)


def _kernels(report: TraceReport, top: int) -> Iterator[RenderableType]:
    tables, noun = kernel_tables(report, top), work_noun(report)
    if not tables:
        return
    if len(tables) > _MOST_KERNEL_TABLES:
        yield Text(f"\nLongest {noun}, all devices", style="bold")
        yield _kernel_table(kernels_over_devices(report, top))
        yield Text("Those of each device stand on the page and in --json.", style="dim")
        return
    for table in tables:
        yield Text(f"\nLongest {noun}, {table.title}", style="bold")
        yield _kernel_table(table)
        if table.left_out:
            yield Text(f"{table.left_out}.", style="dim")


def _kernel_table(kernels: KernelTable) -> Table:
    table = Table(
        Column("Name", overflow="fold", ratio=1),
        Column("Group", overflow="fold", min_width=10),
        Column("Calls", justify="right", no_wrap=True),
        Column("ms", justify="right", no_wrap=True),
        Column("Share", justify="right", no_wrap=True),
        Column("Mean", justify="right", no_wrap=True),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        expand=True,
    )
    for row in kernels.rows:
        cells = (row.group, row.calls, row.total, row.share, row.mean)
        table.add_row(Text(short_kernel(row.name)), *(Text(cell) for cell in cells))
    return table


def _collectives(report: TraceReport) -> Iterator[RenderableType]:
    rows = collective_rows(report)
    if not rows:
        return
    yield Text("\nCollectives, mean of the ranks", style="bold")
    heads = ("Calls", "Bytes", "Bus", "ms", "Transfer", "Waiting")
    table = Table(
        Column("Collective", overflow="fold", ratio=1),
        *(Column(name, justify="right", no_wrap=True) for name in heads),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        expand=True,
    )
    for row in rows:
        cells = (row.calls, row.bytes, row.bandwidth, row.total, row.transfer)
        table.add_row(
            _two_lines(row.name, row.about),
            *(Text(cell) for cell in cells),
            _two_lines(row.waiting, row.late),
        )
    yield table
    for row in rows:
        if row.reason:
            yield Text(f"{row.name}: {row.reason}", style="dim")


def _transfers(report: TraceReport, top: int, width: int) -> Iterator[RenderableType]:
    transfers = report.communication.transfers
    ends = places_of(transfers)
    if not ends:
        return
    if len(ends) <= _MOST_ENDS:
        grid = _matrix(transfers, ends, report.communication.unit)
        yield from _grid("Sent, from the row to the column", grid, width)
        return
    grid = Grid(list(TRANSFER_COLUMNS), [list(row) for row in transfer_rows(report, top)])
    yield from _grid("Largest transfers", grid, width)
    if len(transfers) > top:
        yield Text(f"{len(transfers) - top} more in --json.", style="dim")


def _matrix(transfers: Sequence[Transfer], ends: Sequence[int], unit: str) -> Grid:
    """Bytes and ms of each pair; the pairs that sent nothing stay empty."""
    cells = {
        (each.source, each.destination): (
            f"{units.si(each.bytes, 'B')}\n{milliseconds(each.total_s)} ms"
        )
        for each in transfers
    }
    return Grid(
        ["from", *(place_label(end, unit) for end in ends)],
        [
            [place_label(source, unit), *(cells.get((source, to), "") for to in ends)]
            for source in ends
        ],
    )


def doubts(found: Iterable[Doubt]) -> Iterator[RenderableType]:
    """Reasons to trust the figures less, with their remedies."""
    texts = [
        Text.assemble((f"{each.about}: ", "yellow"), each.sentence, " ", (each.remedy, "dim"))
        for each in found
    ]
    yield from bulleted("Doubts", "?", texts)


def absent(reasons: dict[str, str]) -> Iterator[RenderableType]:
    """What the traces do not tell."""
    texts = [Text(f"{name}: {reason}") for name, reason in reasons.items()]
    yield from bulleted("Not known", units.ABSENT, texts)


def bulleted(title: str, mark: str, texts: Sequence[Text]) -> Iterator[RenderableType]:
    """A title with sentences below it; nothing where there are none."""
    if texts:
        yield Text(f"\n{title}", style="bold")
    for text in texts:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_row(mark, text)
        yield grid


def _two_lines(value: str, below: str) -> Text:
    return Text.assemble(value, ("\n" + below, "dim") if below else "")
