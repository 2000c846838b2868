"""A model layer by layer on the terminal."""

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from topout.records import LayersReport, TraceFailure
from topout.report.layers.rows import (
    LayerRow,
    layer_rows,
    shared_sentences,
    sums,
    workload_words,
)

# From this width on the class has a column of its own.
_WIDE = 110


def layers_table(report: LayersReport, expand: bool = False) -> RenderableType:
    """A renderable of tree, shapes, parameters and memory for 80 columns and up.

    Equal blocks in a row are told once, with their number, unless `expand`.
    """
    return _LayersTable(report, expand)


class _LayersTable:
    """Chooses the layout when the width is known."""

    def __init__(self, report: LayersReport, expand: bool) -> None:
        self._report = report
        self._rows = layer_rows(report.layers, expand)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report, layers = self._report, self._report.layers
        yield Padding(
            Text.assemble(
                (report.model, "bold"), f", {report.class_name}; {workload_words(report)}"
            ),
            (1, 0),
        )
        yield _tree(self._rows, options.max_width >= _WIDE)
        yield Text()
        yield _sums(sums(layers))
        yield Text()
        if layers.failure is not None:
            yield _failure(layers.failure)
        if any(row.repeats > 1 for row in self._rows):
            yield Text("× n: so many equal layers in a row; the figures are those of one.", "dim")
        for sentence in [*shared_sentences(layers.root), *layers.rules]:
            yield Text(sentence, style="dim")


def _tree(rows: list[LayerRow], wide: bool) -> Table:
    columns = [
        Column("Layer", overflow="ellipsis", no_wrap=True, ratio=1),
        Column("Output", overflow="fold", min_width=12),
        Column("Parameters", justify="right", no_wrap=True),
        Column("Outputs", justify="right", no_wrap=True),
    ]
    if wide:
        columns.insert(1, Column("Class", overflow="ellipsis", no_wrap=True))
    table = Table(*columns, box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    for row in rows:
        style = "dim" if row.layer.output_shapes is None else ""
        name = Text.assemble((row.guide, "dim"), (row.name, style or "bold"))
        if not wide and row.class_name:
            name.append(f" {row.class_name}", style="dim")
        cells = [name, Text(row.shape, style), Text(row.parameters), Text(row.outputs)]
        if wide:
            cells.insert(1, Text(row.class_name, style))
        table.add_row(*cells)
    return table


def _sums(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for name, value in rows:
        table.add_row(Text(name), Text(value, style="bold" if name == rows[-1][0] else ""))
    return table


def _failure(failure: TraceFailure) -> Text:
    return Text(
        f"The forward pass stopped in {failure.layer} at {failure.op} ({failure.message}). "
        "Layers after it have no outputs here.",
        style="yellow",
    )
