"""The block taken apart, on the terminal: each op with its shape, work, bound, time and share."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from topout.records import CostReport, MachineCost
from topout.report.cost.op_rows import OpGroup, OpRow, op_groups
from topout.report.side_by_side import plain_table, widest

BOUND_STYLES = {
    "memory": "blue",
    "compute": "yellow",
    "overhead": "magenta",
    "communication": "green",
}
_TERMS = 132  # from this width on there is room for the terms of the time
_SHAPES = 104  # from this one on for a column of shapes; below, they stand under the ops
_NAMES = 34  # cells of an op's name beside a column of shapes
_MOST = 36  # ops of a phase; a convolutional network has hundreds
_SHORT = {"communication": "network"}


def ops_tables(report: CostReport, machine: MachineCost, width: int) -> Iterator[RenderableType]:
    """A table for each phase of the machine."""
    for group in op_groups(report, machine, _MOST):
        on = f", on {machine.name}" if machine.hardware is not None else ""
        yield Text(f"\n{group.title}{on}", style="bold")
        if group.rows:
            yield _table(group, width)
        yield Text(group.note, style="dim")


def _table(group: OpGroup, width: int) -> Table:
    table = plain_table()
    if width >= _SHAPES:
        names = min(widest([row.name for row in group.rows]), _NAMES)
        table.add_column("op", overflow="fold", min_width=names)
        table.add_column("runs", justify="right", no_wrap=True)
        table.add_column("shape", overflow="fold", ratio=1)
    else:
        table.add_column("op × runs, shape", overflow="fold", ratio=1)
    for name in ("FLOP", "bytes", "FLOP/B"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    if width >= _TERMS:
        for name in ("compute", "memory", "overhead"):
            table.add_column(name, justify="right", no_wrap=True, style="dim")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for row in group.rows:
        table.add_row(*_cells(row, width))
    table.add_row(*_cells(group.total, width), style="bold")
    return table


def _cells(row: OpRow, width: int) -> list[RenderableType]:
    bound = row.bound if width >= _SHAPES else _SHORT.get(row.bound, row.bound)
    terms = [row.compute, row.memory, row.overhead] if width >= _TERMS else []
    return [
        *_names(row, width),
        *map(Text, [row.flops, row.bytes, row.intensity]),
        Text(bound, style=BOUND_STYLES.get(row.bound, "")),
        *map(Text, [*terms, row.time, row.share]),
    ]


def _names(row: OpRow, width: int) -> list[RenderableType]:
    if width >= _SHAPES:
        return [Text(row.name), Text(row.count), Text(row.shape)]
    name = Text(row.name if row.count in ("", "1") else f"{row.name} × {row.count}")
    if not row.shape:
        return [name]
    return [Group(name, Padding(Text(row.shape, style="dim"), (0, 0, 0, 1)))]
