"""The main table of each kind of record: every figure as the record has it."""

from pathlib import Path
from typing import Any

import msgspec
import polars
import pytest
from hypothesis import HealthCheck, given, settings

from tests.golden.commands import INPUTS
from tests.golden.record import RECORDS
from tests.golden.rendering import read_record
from tests.test_records import records_of
from topout import records
from topout.errors import InputError
from topout.records import GemmReport, MachineReport, Record, RunReport, TrainReport
from topout.report import _DOCUMENTS
from topout.report.main_table import _LAYOUTS, main_table, to_frame

EXAMPLES = [
    *sorted((INPUTS / "records").glob("*.json")),
    *(RECORDS / f"{name}.json" for name in ("cost-check", "cost-example-axpy", "cost-gpt2")),
    *(RECORDS / f"{name}.json" for name in ("machine-show-gpu", "trace-runs")),
]
DRAWN = [name for name in _LAYOUTS if name != "LayersReport"]  # a layer holds layers


def example(name: str) -> Any:
    return read_record(next(path for path in EXAMPLES if path.stem == name))


def test_each_kind_that_has_a_report_has_a_table_and_is_tried() -> None:
    assert {type(read_record(path)).__name__ for path in EXAMPLES} == set(_DOCUMENTS)
    assert set(_DOCUMENTS) | {"Count"} == set(_LAYOUTS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_row_has_a_value_or_none_under_each_column(path: Path) -> None:
    record = read_record(path)
    if isinstance(record, MachineReport) and record.ceilings is None:
        with pytest.raises(InputError, match=r"no ceilings .* take the JSON"):
            main_table(record)
        return
    columns, rows = main_table(record)
    for row in rows:
        for value, kind in zip(row, columns.values(), strict=True):
            assert value is None or type(value) is kind
    frame = record.to_frame()
    assert frame.columns == list(columns) and frame.rows() == [tuple(row) for row in rows]


@pytest.mark.parametrize("name", DRAWN)
def test_any_record_is_a_frame_of_the_same_columns(name: str) -> None:
    kind = getattr(records, name)
    seen = set()

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(records_of(kind))
    def draw(record: Record) -> None:
        if isinstance(record, MachineReport) and record.ceilings is None:
            return
        columns, rows = main_table(record)
        frame = to_frame(record)
        seen.add(tuple(frame.schema.items()))
        assert frame.rows() == [tuple(row) for row in rows] and len(set(columns)) == len(columns)

    draw()
    assert len(seen) == 1  # also where there is no row


def test_figures_are_those_of_the_record_unrounded() -> None:
    climb = example("climb-measured")
    frame = climb.to_frame()
    assert frame["name"].to_list() == [rung.name for rung in climb.rungs]
    for row, rung in zip(frame.to_dicts(), climb.rungs, strict=True):
        assert row["on"] == "; ".join(rung.on)
        assert row["decode_time_s"] == (rung.decode and rung.decode.time_s.median)
        assert row["decode_time_s_low"] == (rung.decode and rung.decode.time_s.low)
        assert row["speedup_high"] == (rung.speedup and rung.speedup.high)
        assert row["peak_memory_bytes"] == rung.peak_memory_bytes


def test_rows_of_several_lists_say_which() -> None:
    report: GemmReport = example("gemm-example")
    rows = report.to_frame().rows(named=True)
    expected = [
        (shape.m, shape.threads, part, result.name, result.of_ceiling)
        for shape in report.shapes
        for part, results in (("versions", shape.versions), ("rivals", shape.rivals))
        for result in results
    ]
    keys = ("m", "threads", "part", "name", "of_ceiling")
    assert [tuple(row[key] for key in keys) for row in rows] == expected
    ceilings = example("machine-example").to_frame()
    assert ceilings.filter(part="bandwidth")["flops_per_s"].to_list() == [None] * 5
    assert ceilings.filter(part="overheads")["time_s"].to_list() == [1.9e-6]


def test_rows_stand_under_what_holds_them() -> None:
    run: RunReport = example("run-gemm-example")
    assert run.to_frame().select("name", "phase").rows() == [
        *(("pytorch", "prefill"), ("pytorch", "decode")),
        *(("tiled", "prefill"), ("tiled", "decode")),
    ]
    train: TrainReport = example("train-two-ranks")
    counted = train.to_frame().group_by("ranks", "rank").len().sort("ranks", "rank").rows()
    assert [place[:2] for place in counted] == [(1, 0), (2, 0), (2, 1)]
    assert {steps for _, _, steps in counted} == {len(train.cases[0].steps[0])}
    layers = example("layers-example").to_frame()
    assert layers["depth"].to_list()[:2] == [0, 1]
    assert layers.filter(polars.col("output_shapes").is_not_null())["output_shapes"][0][0] == "["


def test_several_records_of_one_kind_are_a_row_each() -> None:
    gpu = example("machine-show-gpu")
    columns, rows = main_table([gpu, msgspec.structs.replace(gpu, name="other")])
    assert "schema_version" not in columns
    assert [row[list(columns).index("name")] for row in rows] == [gpu.name, "other"]


def test_a_part_of_a_record_has_no_table() -> None:
    with pytest.raises(InputError, match=r"a RungResult has no table\. Take its fields"):
        example("climb-example").rungs[0].to_frame()
