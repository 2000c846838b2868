"""A cost report on the terminal: the model, the machines side by side, the ops, the memory."""

from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from topout.records import CostReport
from topout.report.cost.machine_rows import (
    Figure,
    FigureGroup,
    FigureRow,
    machine_groups,
)
from topout.report.cost.memory_rows import (
    Grid,
    kv_grid,
    kv_sentence,
    saving_grid,
    saving_sentence,
    training_grid,
    training_sentence,
)
from topout.report.cost.notes import assumptions, reasons
from topout.report.cost.ops_table import BOUND_STYLES, ops_tables
from topout.report.cost.words import (
    asked_sentence,
    model_sentence,
    parameters_sentence,
    placed,
)
from topout.report.side_by_side import (
    broken_name,
    column_chunks,
    grid_tables,
    plain_table,
    widest,
)


def cost_table(report: CostReport) -> RenderableType:
    """A renderable of the whole report that adapts to the width of the terminal (80 and up)."""
    return _CostReport(report)


class _CostReport:
    """Chooses the layout when the width is known."""

    def __init__(self, report: CostReport) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report, width = self._report, options.max_width
        yield from _headline(report)
        yield from _machines(report, width)
        if report.machines:
            yield from ops_tables(report, report.machines[0], width)
            if len(report.machines) > 1:
                yield Text("The ops on the other machines stand in --json and --report.", "dim")
        yield from _grid("With and without a KV cache", saving_grid(report), width)
        yield from _paragraph(saving_sentence(report))
        yield from _grid("KV cache by context and batch", kv_grid(report), width)
        yield from _paragraph(kv_sentence(report))
        yield from _grid("Memory of one device in training", training_grid(report), width)
        yield from _paragraph(training_sentence(report))
        yield from _list("Findings", report.findings)
        yield from _list("Assumed", assumptions(report))
        yield from _list("What is not predicted, and why", reasons(report))
        yield from _list("Not counted", report.not_counted)
        yield from _list("How it is counted", report.conventions)


def _headline(report: CostReport) -> Iterator[RenderableType]:
    yield Text()
    yield Text(report.model.name, style="bold")
    yield Text(model_sentence(report))
    yield Text(parameters_sentence(report))
    yield Text(f"Asked: {asked_sentence(report)}")
    if report.conventions:
        more = " More rules stand at the end." if len(report.conventions) > 1 else ""
        yield Text(f"Counted: {report.conventions[0].rstrip('.')}.{more}", style="dim")


def _machines(report: CostReport, width: int) -> Iterator[RenderableType]:
    """A column for each machine; several tables where the terminal does not hold them all."""
    groups = machine_groups(report)
    names = [broken_name(machine.name) for machine in placed(report)]
    labels = widest([_label(row) for group in groups for row in group.rows])
    columns = [
        widest([name, *(_text(row.figures[i]) for group in groups for row in group.rows)])
        for i, name in enumerate(names)
    ]
    for chunk in column_chunks(labels, columns, width) if groups else []:
        yield Text()
        yield _machine_table(groups, names, chunk)


def _machine_table(groups: list[FigureGroup], names: list[str], chunk: range) -> Table:
    table = plain_table()
    table.add_column("", overflow="fold")
    for index in chunk:
        table.add_column(Text(names[index]), justify="right", overflow="fold")
    for number, group in enumerate(groups):
        if number:
            table.add_row()
        table.add_row(Text(group.title, style="bold"))
        for row in group.rows:
            table.add_row(_label(row), *(_text(row.figures[index]) for index in chunk))
    return table


def _label(row: FigureRow) -> Text:
    text = Text(f"  {row.label}")
    if row.below:
        text.append(f"\n  {row.below}", style="dim")
    return text


def _text(figure: Figure) -> Text:
    text = Text(figure.value, style=BOUND_STYLES.get(figure.value, ""))
    if figure.below:
        text.append("\n" + figure.below, style="not bold dim")
    return text


def _grid(title: str, grid: Grid | None, width: int) -> Iterator[RenderableType]:
    if grid is not None:
        yield Text(f"\n{title}", style="bold")
        yield from grid_tables(grid.columns, grid.rows, width)


def _paragraph(sentence: str) -> Iterator[RenderableType]:
    if sentence:
        yield Text(sentence, style="dim")


def _list(title: str, sentences: Iterable[str]) -> Iterator[RenderableType]:
    sentences = list(sentences)
    if sentences:
        yield Text(f"\n{title}", style="bold")
    for sentence in sentences:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_row("•", Text(sentence))
        yield grid
