"""Figures of devices as grids of text."""

from topout import units
from topout.report.document import Table
from topout.report.trace.measures import MOST_COLUMNS, Measure, device_table, every_device
from topout.report.trace.names import milliseconds


def titles(table: Table) -> list[str]:
    return [column.title for column in table.columns]


def texts(table: Table) -> list[list[str]]:
    """The rows as text, what stands below a figure on a line of its own."""
    return [
        [
            "\n".join(filter(None, (cell.value, cell.below)))
            for cell in map(row.cell, range(len(table.columns)))
        ]
        for row in table.rows
    ]


def labels(count: int) -> list[str]:
    return [f"rank {number}" for number in range(count)]


def test_few_devices_have_a_column_each() -> None:
    measure = Measure("Busy", [0.5, None], milliseconds, [1.0, 1.0])
    grid = device_table("ms", labels(2), [measure])
    assert titles(grid) == ["ms", "rank 0", "rank 1"]
    assert texts(grid) == [["Busy", "500 (50 %)", units.ABSENT]]


def test_many_devices_are_told_by_mean_and_extremes() -> None:
    values = [0.1] * MOST_COLUMNS + [0.4]
    grid = device_table("ms", labels(9), [Measure("Busy", values, milliseconds, [1.0] * 9)])
    assert titles(grid) == ["ms", "Mean", "Least", "Most"]
    # (8 · 0.1 + 0.4) / 9 = 0.1333
    assert texts(grid) == [["Busy", "133 (13 %)", "100 (10 %)\nrank 0", "400 (40 %)\nrank 8"]]


def test_where_all_are_alike_no_device_is_named() -> None:
    grid = device_table("ms", labels(9), [Measure("Busy", [0.1] * 9, milliseconds)])
    assert texts(grid) == [["Busy", "100", "100", "100"]]


def test_the_mean_is_over_devices_that_have_the_figure() -> None:
    values = [None] * 8 + [0.2, 0.4]
    grid = device_table("ms", labels(10), [Measure("Busy", values, milliseconds, [1.0] * 10)])
    assert texts(grid)[0][1] == "300 (30 %)"


def test_a_figure_that_no_device_has_is_left_out_of_many() -> None:
    grid = device_table("ms", labels(9), [Measure("Busy", [None] * 9, milliseconds)])
    assert texts(grid) == []


def test_every_device_has_a_row() -> None:
    grid = every_device("ms", labels(2), [Measure("Busy", [0.1, 0.2], milliseconds)])
    assert titles(grid) == ["ms", "Busy"]
    assert texts(grid) == [["rank 0", "100"], ["rank 1", "200"]]


def test_a_whole_of_nothing_has_no_share() -> None:
    assert Measure("Busy", [0.0], milliseconds, [0.0]).text(0) == "0"
