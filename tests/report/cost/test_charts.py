"""The charts of a cost report: what they show, and that they can be drawn without a browser."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from topout.records import CostReport
from topout.report.charts.theme import Spec, chart_png, chart_svg
from topout.report.cost.charts import speed_charts
from topout.report.cost.memory_charts import kv_bytes_per_device, memory_charts, training_charts

from .any_cost import cost_reports
from .example_cost import MARKUP, decoder_report, many_machines_report, marked_up_report
from .test_terminal import REPORTS


def _rows(spec: Spec) -> list[dict[str, Any]]:
    """All the data that a chart's layers carry, what several of them carry once."""
    carriers = [spec, *spec["layer"]]
    rows = [row for carrier in carriers if "data" in carrier for row in carrier["data"]["values"]]
    return [row for number, row in enumerate(rows) if row not in rows[:number]]


def cost_charts(report: CostReport) -> dict[str, Spec]:
    """The specs by name."""
    charts = [*speed_charts(report), *memory_charts(report), *training_charts(report)]
    return {chart.key: chart.spec for chart in charts}


def test_the_charts_of_a_full_report() -> None:
    assert list(cost_charts(decoder_report())) == [
        "rates",
        "time_decode",
        "time_prefill",
        "time_training",
        "memory",
        "kv_cache",
        "training_memory",
    ]


def test_a_machine_has_its_rate_and_its_interval() -> None:
    bar = next(row for row in _rows(cost_charts(decoder_report())["rates"]))
    machine = decoder_report().machines[0]
    assert machine.interval is not None
    assert bar["rate"] == machine.decode_tokens_per_s
    assert (bar["low"], bar["high"]) == (machine.interval.low, machine.interval.high)
    assert bar["bound"] == "memory"


def test_the_parts_of_a_bar_are_the_ops_and_sum_to_the_whole() -> None:
    report = decoder_report()
    spec = cost_charts(report)["time_decode"]
    parts = [row for row in _rows(spec) if row.get("op") and row["machine"] == "a100-80gb"]
    ops = [op for op in report.machines[0].ops if op.phase == "decode"]
    assert [part["op"] for part in parts] == [op.name for op in ops]
    assert [part["share"] for part in parts] == pytest.approx([op.share for op in ops])
    assert parts[0]["start"] == 0.0
    assert parts[-1]["end"] == pytest.approx(1.0)
    assert {part["op"]: part["bound"] for part in parts}["mlp_down"] == "memory"


def test_a_machine_without_times_says_why_in_place_of_a_bar() -> None:
    rows = _rows(cost_charts(many_machines_report())["time_decode"])
    assert any(row.get("value") == "its file states no bandwidth of main memory" for row in rows)


def test_weights_and_cache_are_shares_of_each_memory() -> None:
    rows = _rows(cost_charts(decoder_report())["memory"])
    parts = {row["part"]: row for row in rows if row.get("part") and row["machine"] == "a100-80gb"}
    assert parts["weights"]["share"] == pytest.approx(16_060_522_496 / (80 << 30))
    assert parts["KV cache"]["share"] == pytest.approx(131072 * 1024 / (80 << 30))
    assert parts["KV cache"]["start"] == parts["weights"]["end"]


@pytest.mark.parametrize(
    ("tensor", "pipeline", "share"),
    # 8 heads of keys and values: 3 devices hold up to 3 of them each, 16 devices one each.
    [(1, 1, 1.0), (4, 1, 1 / 4), (3, 1, 3 / 8), (16, 1, 1 / 8), (2, 2, 1 / 4)],
)
def test_a_device_keeps_the_cache_of_its_heads_and_blocks(
    tensor: int, pipeline: int, share: float
) -> None:
    report = decoder_report()
    work = replace(report.workload, tensor_parallel=tensor, pipeline_parallel=pipeline)
    held = kv_bytes_per_device(replace(report, workload=work))
    assert held == pytest.approx(131072 * 1024 * share)


def test_the_room_beside_the_weights_is_drawn_over_the_cache() -> None:
    rows = _rows(cost_charts(decoder_report())["kv_cache"])
    assert {row["gib"] for row in rows if row.get("batch") == 1} == {0.125, 0.5, 2.0, 8.0, 16.0}
    labels = [row["machines"] for row in rows if "y" in row]
    assert "a100-80gb: 65.0 GiB" in labels  # 80 GiB − 16.06 GB


def test_the_parts_of_training_sum_to_the_total() -> None:
    report = decoder_report()
    rows = [row for row in _rows(cost_charts(report)["training_memory"]) if "part" in row]
    choice = report.memory.training[5]  # selective, ZeRO 1
    parts = [row["gib"] for row in rows if row["row"] == "recompute attention, ZeRO 1"]
    assert sum(parts) == pytest.approx(choice.total_bytes / 2**30)


@pytest.mark.parametrize("make", REPORTS)
def test_every_chart_can_be_drawn_without_a_browser(make: Callable[[], CostReport]) -> None:
    for spec in cost_charts(make()).values():
        svg = chart_svg(spec)
        assert svg.startswith("<svg")
        assert not re.search(r"\bNaN\b|undefined", svg)


def test_a_chart_as_png() -> None:
    png = chart_png(cost_charts(decoder_report())["rates"], scale=1.0)
    assert png.startswith(b"\x89PNG")


def test_markup_in_a_label_is_text_in_the_svg() -> None:
    svg = chart_svg(cost_charts(marked_up_report())["time_decode"])
    assert "&lt;script&gt;" in svg
    assert MARKUP not in svg


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(cost_reports())
def test_the_charts_of_any_report_can_be_drawn(report: CostReport) -> None:
    for spec in cost_charts(report).values():
        assert chart_svg(spec).startswith("<svg")
