"""A worked example on the terminal: the sum, the machines, the measured run, findings."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from topout.records import ExampleReport
from topout.report.example.rows import ExampleTable, example_tables, measured_facts


def example_table(report: ExampleReport) -> RenderableType:
    """A renderable of the whole report for 80 columns and more."""
    example = report.example
    parts: list[RenderableType] = [
        Text.assemble((example.title, "bold"), f": {example.formula}"),
        Text(f"{example.size}; {example.flops_sum}"),
    ]
    tables = example_tables(report)
    for table in tables:
        parts += [Text(), _drawn(table)]
    if any("◂" in row[0] for table in tables for row in table.rows):
        parts.append(Text("◂ the nearest level that holds the working set", style="dim"))
    if report.measured is not None:
        parts += [Text(), Text("The measured run", style="italic"), _facts(report)]
    parts += _sentences("Findings", report.findings)
    parts += _sentences("Notes", example.notes)
    parts += _sentences("Absent", [f"{name}: {why}." for name, why in report.reasons.items()])
    if report.measured is not None:
        doubts = [
            f"{doubt.about}: {doubt.sentence} {doubt.remedy}" for doubt in report.measured.doubts
        ]
        parts += _sentences("Doubts", doubts)
    return Group(*parts)


def _drawn(table: ExampleTable) -> Table:
    drawn = Table(
        title=Text(table.title, style="italic"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for number, column in enumerate(table.columns):
        right = number in table.numbers
        drawn.add_column(column, justify="right" if right else "left", no_wrap=right)
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def _facts(report: ExampleReport) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in measured_facts(report.measured) if report.measured else []:
        grid.add_row(Text(name), Text(value))
    return grid


def _sentences(title: str, sentences: list[str]) -> list[RenderableType]:
    if not sentences:
        return []
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1)
    for sentence in sentences:
        grid.add_row("•", Text(sentence))
    return [Text(), Text(title, style="bold"), grid]
