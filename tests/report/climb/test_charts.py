"""The charts: what they show, and that they can be drawn without a browser."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from topout.records import Climb, RungResult
from topout.report.charts.labels import apart
from topout.report.charts.theme import chart_png, chart_svg
from topout.report.climb.charts import climb_charts
from topout.report.climb.roofline_chart import placement
from topout.report.document import Chart

from ..example_climb import DRAM, FLOPS_CEILING, MARKUP, RUNS, example_climb
from .hard_climbs import HARD_CLIMBS, empty_climb, marked_up_climb


def _rows(chart: Chart) -> list[dict[str, Any]]:
    """All the data that a chart's layers carry."""
    spec = chart.spec
    layers = spec.get("layer", [spec])
    datasets = [layer["data"] for layer in [spec, *layers] if "data" in layer]
    values = [
        data.get("values", spec.get("datasets", {}).get(data.get("name"))) for data in datasets
    ]
    return [row for rows in values for row in rows or []]


def _chart(climb: Climb, key: str) -> Chart:
    return next(chart for chart in climb_charts(climb) if chart.key == key)


def test_the_charts_of_a_full_climb() -> None:
    keys = [chart.key for chart in climb_charts(example_climb())]
    assert keys == ["decode", "prefill", "roofline", "memory", "runs", "bandwidth"]
    assert climb_charts(empty_climb()) == []


def test_every_bar_has_its_interval_prediction_and_every_single_run() -> None:
    rows = _rows(_chart(example_climb(), "decode"))
    bar = next(row for row in rows if row["label"] == "int8_weights" and "low" in row)
    assert bar["low"] <= bar["rate"] <= bar["high"]
    assert bar["predicted_rate"] == pytest.approx(904 / 0.93)
    dots = {row["run"] for row in rows if row["label"] == "int8_weights" and "offset" in row}
    assert dots == set(range(1, RUNS + 1))


@pytest.mark.parametrize("times", [0.01, 1.0, 100.0])
def test_the_figure_stands_at_the_measured_bar_wherever_the_prediction_is(times: float) -> None:
    climb = example_climb()
    rungs = [_predicted(rung, times) for rung in climb.rungs]
    chart = _chart(structs.replace(climb, rungs=rungs), "decode")
    bars = [row for row in _rows(chart) if "predicted_rate" in row]
    assert bars
    dots = [row for row in _rows(chart) if "offset" in row]
    for bar in bars:
        runs = [dot["rate"] for dot in dots if dot["label"] == bar["label"]]
        assert bar["end"] == max([bar["high"], *runs])
    layers = chart.spec["layer"]
    (figure,) = [layer for layer in layers if layer["mark"]["type"] == "text"]
    assert figure["encoding"]["x"]["field"] == "end"
    # The predicted mark stands under the bar, clear of the figure's line, and on the axis.
    (mark,) = [layer for layer in layers if layer["mark"].get("shape") == "triangle-up"]
    bar_height = next(x["mark"]["height"] for x in layers if x["mark"]["type"] == "bar")
    assert mark["mark"]["yOffset"] - mark["mark"]["size"] ** 0.5 / 2 > bar_height / 2 - 1
    domain = layers[0]["encoding"]["x"]["scale"]["domain"]
    assert max(bar["predicted_rate"] for bar in bars) < domain[1]


def _predicted(rung: RungResult, times: float) -> RungResult:
    """The rung with all that was predicted of it so many times as fast."""
    if rung.prediction is None or rung.prediction.decode is None:
        return rung
    decode = rung.prediction.decode
    faster = structs.replace(decode, time_s=decode.time_s / times)
    return structs.replace(rung, prediction=structs.replace(rung.prediction, decode=faster))


def test_a_rung_without_figures_keeps_its_place_and_says_why() -> None:
    rows = _rows(_chart(example_climb(), "decode"))
    bar = next(row for row in rows if row["label"] == "tensor_parallel")
    assert bar["value"] == "skipped"
    assert "needs 2 devices" in bar["reason"]


def test_the_roofline_has_each_ceiling_of_the_threads_that_ran() -> None:
    rows = _rows(_chart(example_climb(), "roofline"))
    labels = {row["label"] for row in rows if "name" in row}
    assert labels == {
        "fp32 118 GFLOP/s",  # of 2 threads, not the 61 GFLOP/s of one
        "int8 402 GOP/s",
        "L1 412 GB/s",
        "L2 171 GB/s",
        "L3 46.0 GB/s",
        "DRAM 24.6 GB/s",
    }


def test_a_bandwidth_roof_has_the_slope_of_its_ceiling() -> None:
    rows = _rows(_chart(example_climb(), "roofline"))
    line = [row for row in rows if row["label"] == "DRAM 24.6 GB/s" and "name" not in row]
    assert len(line) == 2
    for end in line:
        assert end["rate"] / end["intensity"] == pytest.approx(DRAM / 1e9)


def test_each_measured_phase_is_placed() -> None:
    climb = example_climb()
    points = [row for row in _rows(_chart(climb, "roofline")) if "phase" in row and "region" in row]
    assert len({(p["label"], p["phase"]) for p in points}) == 14
    native = next(p for p in points if p["label"] == "native_engine" and p["phase"] == "decode")
    result = climb.rungs[3].decode
    assert result is not None
    assert native["rate"] == pytest.approx(result.flops / result.time_s.median / 1e9)
    assert native["region"] == "memory-bound"


def test_a_placement_uses_the_ceilings_of_its_own_dtype() -> None:
    prefill = example_climb().rungs[0].prefill
    assert prefill is not None
    placed = placement(prefill)
    assert placed is not None
    assert placed.attainable_flops_per_s == FLOPS_CEILING


@pytest.mark.parametrize(
    "wanted", [[0.0, 1.0, 2.0], [5.0], [], [0, 0, 0, 100, 101], [0, 9, 11, 30]]
)
def test_labels_are_kept_apart_and_in_order(wanted: list[float]) -> None:
    placed = apart(wanted, 10.0)
    assert len(placed) == len(wanted)
    gaps = [b - a for a, b in itertools.pairwise(placed)]
    assert all(gap >= 10.0 - 1e-9 for gap in gaps)


def test_labels_with_room_stay_where_they_are() -> None:
    assert apart([0.0, 50.0, 100.0], 10.0) == [0.0, 50.0, 100.0]


def test_runs_of_rung_and_rival_are_in_order_of_time() -> None:
    rows = [row for row in _rows(_chart(example_climb(), "runs")) if "role" in row]
    assert {row["role"] for row in rows} == {"the rung", "its rival"}
    assert all(row["rate"] > 0 for row in rows)


def test_memory_parts_sum_to_the_peak() -> None:
    parts = [row for row in _rows(_chart(example_climb(), "memory")) if "part" in row]
    for label, peak in (("int8_weights", 262), ("compile", 612)):
        assert sum(row["mib"] for row in parts if row["label"] == label) == pytest.approx(peak)


@pytest.mark.parametrize("make", HARD_CLIMBS)
def test_every_chart_can_be_drawn_without_a_browser(make: Callable[[], Climb]) -> None:
    for chart in climb_charts(make()):
        svg = chart_svg(chart.spec)
        assert svg.startswith("<svg")
        assert not re.search(r"\bNaN\b|undefined", svg)


def test_a_chart_as_png() -> None:
    png = chart_png(_chart(example_climb(), "decode").spec, scale=1.0)
    assert png.startswith(b"\x89PNG")


def test_markup_in_a_label_is_text_in_the_svg() -> None:
    svg = chart_svg(_chart(marked_up_climb(), "decode").spec)
    assert "&lt;script&gt;" in svg
    assert MARKUP not in svg
    assert "<img" not in svg
