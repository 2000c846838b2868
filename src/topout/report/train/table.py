"""A training run on the terminal: its cases, the parts of a step, findings and doubts."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from topout.records import TrainReport
from topout.report.train.rows import case_rows, rank_rows
from topout.report.train.words import headlines, subject_sentence


def train_table(report: TrainReport, folder: str) -> RenderableType:
    """A renderable of the whole result, for 80 columns and up; `folder` is the run's."""
    return Group(*_parts(report, folder))


def _parts(report: TrainReport, folder: str) -> Iterator[RenderableType]:
    yield Padding(
        Text.assemble(
            (report.model.name, "bold"),
            f", {subject_sentence(report)}; {report.data.description}; {report.machine.cpu_model}",
        ),
        (1, 0),
    )
    if any(case.status == "done" for case in report.cases):
        yield _cases(report)
        yield Text("\nA step of each rank, mean", style="bold")
        yield _ranks(report)
        yield Text()
    for number, sentence in enumerate(headlines(report)):
        yield Text(sentence, style="bold" if number == 0 else "")
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
    yield from _traces(report, folder)


def _traces(report: TrainReport, folder: str) -> Iterator[RenderableType]:
    """The commands that look into the profiled steps, whole, so that they can be copied."""
    folders = [case.trace_folder for case in report.cases if case.trace_folder is not None]
    if folders:
        yield Text("\nTraces of the profiled steps", style="bold")
        for each in folders:
            yield Text(f"topout trace {folder}/{each}", overflow="fold")


def _cases(report: TrainReport) -> Table:
    compared = len(report.cases) > 1
    columns = [
        Column("Ranks", no_wrap=True),
        Column("A step", justify="right", no_wrap=True),
        Column("Samples\n/s", justify="right", no_wrap=True),
        Column("Tokens\n/s", justify="right", no_wrap=True),
        Column("FLOP/s\nof ceiling", justify="right", no_wrap=True),
        *([Column("Speedup\neffic.", justify="right", no_wrap=True)] if compared else []),
        Column("Loss", justify="right", no_wrap=True),
        Column("Peak\nmemory", justify="right", no_wrap=True),
    ]
    table = Table(*columns, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for row in case_rows(report):
        if row.status:
            continue
        table.add_row(
            Text(row.name, style="bold"),
            _two_lines(row.step, row.step_spread),
            *(Text(value) for value in (row.samples, row.tokens)),
            _two_lines(row.flops, row.mfu),
            *([_two_lines(row.speedup, row.efficiency)] if compared else []),
            Text(row.loss.replace(" → ", " →\n")),
            Text(row.memory),
        )
    return table


def _ranks(report: TrainReport) -> Table:
    names = ("Data", "Forward", "Backward", "of it\nsum", "Optimizer", "CPUs\nused")
    columns = [
        Column("", overflow="fold", min_width=7),
        *(Column(name, justify="right", no_wrap=True) for name in names),
    ]
    table = Table(*columns, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for row in rank_rows(report):
        cells = (row.data, row.forward, row.backward, row.communication, row.optimizer)
        table.add_row(
            Text(row.name, style="bold"), *(Text(cell) for cell in (*cells, row.utilization))
        )
    return table


def _two_lines(value: str, below: str) -> Text:
    return Text.assemble(value, ("\n" + below, "dim") if below else "")


def _bullet(mark: str, text: Text) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1)
    grid.add_row(mark, text)
    return grid
