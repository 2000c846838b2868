"""A run on the terminal: both ways in a table, what they say, findings and doubts."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from topout.records.run import RunReport
from topout.report.run.rows import run_rows, verification_rows
from topout.report.run.words import headlines, subject_sentence


def run_table(report: RunReport) -> RenderableType:
    """A renderable of the whole result, for 80 columns and up."""
    return Group(*_parts(report))


def _parts(report: RunReport) -> Iterator[RenderableType]:
    yield Padding(
        Text.assemble(
            (report.model.name, "bold"),
            f", {subject_sentence(report)}; {report.machine.cpu_model}",
        ),
        (1, 0),
    )
    yield _rates(report)
    yield Text()
    for number, sentence in enumerate(headlines(report)):
        yield Text(sentence, style="bold" if number == 0 else "")
    if report.gemm is not None and report.gemm.verification is not None:
        yield Text("\nIs the output still right?", style="bold")
        yield _pairs(verification_rows(report.gemm.verification))
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


def _rates(report: RunReport) -> Table:
    rows = run_rows(report)
    columns = [
        Column("Product", overflow="fold", min_width=10),
        Column("Prefill\ntok/s", justify="right", no_wrap=True),
        Column("Decode\ntok/s", justify="right", no_wrap=True),
        Column("TTFT", justify="right", no_wrap=True),
        Column("MFU\nMBU", justify="right", no_wrap=True),
        Column("Peak\nmemory", justify="right", no_wrap=True),
    ]
    compared = len(rows) > 1
    if compared:
        columns[3:3] = [
            Column("Prefill\nspeedup", justify="right", no_wrap=True),
            Column("Decode\nspeedup", justify="right", no_wrap=True),
        ]
    table = Table(*columns, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for row in rows:
        cells = [
            Text(row.name, style="bold"),
            _two_lines(row.prefill, row.prefill_spread),
            _two_lines(row.decode, row.decode_spread),
            *(Text(value) for value in (row.ttft, f"{row.mfu}\n{row.mbu}", row.memory)),
        ]
        if compared:
            cells[3:3] = [
                _two_lines(row.prefill_speedup, row.prefill_interval),
                _two_lines(row.decode_speedup, row.decode_interval),
            ]
        table.add_row(*cells)
    return table


def _two_lines(value: str, below: str) -> Text:
    return Text.assemble(value, ("\n" + below, "dim") if below else "")


def _pairs(rows: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def _bullet(mark: str, text: Text) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1)
    grid.add_row(mark, text)
    return grid
