"""CSV: read back it is the record, and nothing in it is obeyed."""

import csv
import io
from typing import Any

import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.test_records import records_of
from topout.records import Climb, CostReport, GemmReport, KernelTime, MachineReport, TraceReport
from topout.report.main_table import main_table
from topout.report.to_csv import to_csv
from topout.visible_text import visible

from .test_main_table import EXAMPLES, example


def read_back(text: str, kind: type) -> Any:
    """What a cell says; None where it is empty."""
    if text == "" or kind is str:
        return text or None
    return text == "true" if kind is bool else kind(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_python_and_polars_read_the_figures_of_the_record(path: Any) -> None:
    record = example(path.stem)
    if isinstance(record, MachineReport) and record.ceilings is None:
        return
    columns, rows = main_table(record)
    figures = [number for number, kind in enumerate(columns.values()) if kind is not str]
    text = to_csv(record)
    heads, *lines = csv.reader(io.StringIO(text))
    kinds = list(columns.values())
    assert heads == list(columns)
    assert [[read_back(line[n], kinds[n]) for n in figures] for line in lines] == [
        [row[n] for n in figures] for row in rows
    ]
    if rows:
        names = [heads[n] for n in figures]
        frame = polars.read_csv(io.StringIO(text), infer_schema_length=None)
        assert frame.select(names).rows() == record.to_frame().select(names).rows()


@pytest.mark.parametrize("kind", [Climb, CostReport, GemmReport, TraceReport])
def test_any_record_is_read_back(kind: Any) -> None:
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(records_of(kind))
    def draw(record: Any) -> None:
        columns, rows = main_table(record)
        _, *lines = csv.reader(io.StringIO(to_csv(record)))
        for line, row in zip(lines, rows, strict=True):
            for cell, value, of in zip(line, row, columns.values(), strict=True):
                if of is str:
                    assert cell.removeprefix("'") == visible(value or "").removeprefix("'")
                else:
                    assert read_back(cell, of) == value

    draw()


def kernels_csv(*names: str) -> str:
    report: TraceReport = example("trace-host")
    first = report.ranks[0]
    kernels = [replace(first.kernels[0], name=name, share=-0.5) for name in names]
    return to_csv(replace(report, ranks=[replace(first, kernels=kernels)]))


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\n=1", "＝1", '=HYPERLINK("x")'])
def test_a_name_is_no_formula_and_a_figure_stays_one(name: str) -> None:
    _, line = csv.reader(io.StringIO(kernels_csv(name)))
    assert line[2] == f"'{name}" and line[-1] == "-0.5"


@given(st.text(st.characters(), max_size=12))
@settings(max_examples=60)
def test_no_text_begins_as_a_formula_or_passes_a_control_character_on(name: str) -> None:
    text = kernels_csv(name, f"\t{name}", f"\r{name}\x1b[2J\x00")
    assert visible(text) == text
    for line in list(csv.reader(io.StringIO(text)))[1:]:
        assert not line[2].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_quotes_commas_and_lines_stay_in_their_cell() -> None:
    name = 'void f<int, "x">(a)\nb, <b>c</b>'
    kernel: KernelTime = example("trace-host").ranks[0].kernels[0]
    _, line = csv.reader(io.StringIO(kernels_csv(name)))
    assert line[2:5] == [name, kernel.group, str(kernel.calls)]
