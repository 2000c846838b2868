"""Products on the terminal, one below the other: versions, rivals, findings and doubts."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from topout import units
from topout.records import GemmReport, GemmShape
from topout.report.gemm.rows import (
    GemmRow,
    gemm_rows,
    rate_unit,
    report_title,
    shape_facts,
    shape_title,
)

_STYLES = {"measured": "", "failed": "red", "skipped": "dim"}


def gemm_table(report: GemmReport) -> RenderableType:
    """A renderable of the whole result, legible from 80 columns on."""
    return _Report(report)


class _Report:
    """Written when the width is known, though the layout is one for all widths."""

    def __init__(self, report: GemmReport) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self._report
        yield _title(report)
        for shape in report.shapes:
            yield from _product(shape)
        if not report.shapes:
            yield Text("Nothing was compared.")
        yield from _list("Findings", "•", [Text(sentence) for sentence in report.findings])
        doubts = [
            Text.assemble((f"{each.about}: ", "yellow"), each.sentence, " ", (each.remedy, "dim"))
            for each in report.doubts
        ]
        yield from _list("Doubts", "?", doubts)
        reasons = [Text(f"{name}: {reason}") for name, reason in report.reasons.items()]
        yield from _list("Not measured, or not as usual", "–", reasons)
        if not report.finished:
            yield Text("\nThe comparison was interrupted; this is what was finished.", "bold")


def _title(report: GemmReport) -> RenderableType:
    text = Text()
    text.append(report_title(report), style="bold")
    text.append(f" on {report.machine.cpu_model}, {report.machine.usable_cpus} usable CPUs")
    return Padding(text, (1, 0, 0, 0))


def _product(shape: GemmShape) -> Iterator[RenderableType]:
    yield Text.assemble("\n", (shape_title(shape), "bold"), "\n", (shape_facts(shape), "dim"))
    rows = gemm_rows(shape)
    table = Table(*_columns(shape), box=None, padding=(0, 1, 0, 0), pad_edge=False)
    rival_seen = False
    for row in rows:
        if row.is_rival and not rival_seen:
            table.add_row("", Text("rivals", style="dim"))
            rival_seen = True
        table.add_row(*_cells(row))
    yield table
    for row in rows:
        if row.result.reason:
            words = f"{row.mark} {row.name}: {row.result.reason}"
            yield Text(words, style=_STYLES[row.result.status])
    for name, reason in shape.reasons.items():
        yield Text(f"{name}: {reason}", style="dim")


def _columns(shape: GemmShape) -> list[Column]:
    def right(title: str, width: int) -> Column:
        return Column(title, justify="right", no_wrap=True, min_width=width)

    return [
        Column("", width=1),
        Column("", overflow="fold", min_width=13),
        right(f"G{rate_unit(shape)}/s", 7),
        right("Of\nceiling", 7),
        right("Over\nthe last", 9),
        right("Over\nnaive", 9),
        right("Over best\nrival", 9),
        right("Effi-\nciency", 6),
    ]


def _cells(row: GemmRow) -> list[RenderableType]:
    style = "bold" if row.is_best else _STYLES[row.result.status]
    return [
        Text(row.mark, style=style),
        Text(row.name, style=style),
        _two_lines(row.rate, row.rate_spread, style),
        Text(row.of_ceiling),
        _two_lines(row.over_previous, _short(row.over_previous_interval)),
        _two_lines(row.over_naive, _short(row.over_naive_interval)),
        _two_lines(row.over_rival, _short(row.over_rival_interval)),
        Text(row.efficiency),
    ]


def _short(interval: str) -> str:
    """ "[1.02, 1.05]" → "1.02–1.05", so that three of them fit into a terminal."""
    return interval.strip("[]").replace(", ", "–")


def _two_lines(value: str, below: str, style: str = "") -> Text:
    return Text.assemble((value, style), ("\n" + below, "dim") if below else "")


def _list(title: str, mark: str, texts: list[Text]) -> Iterator[RenderableType]:
    if not texts:
        return
    yield Text(f"\n{title}", style="bold")
    for text in texts:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(ratio=1)
        grid.add_row(Text(mark if mark != "–" else units.ABSENT), text)
        yield grid
