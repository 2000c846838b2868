"""The charts of a comparison: which there are, and what stands in them."""

from typing import Any

import msgspec

from tests.gemm import example_report as example
from topout.report.charts.theme import chart_svg
from topout.report.gemm.charts import (
    gemm_charts,
    gemm_ladder_chart,
    gemm_roofline,
    gemm_scaling_chart,
)


def rows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for layer in spec["layer"] for row in layer.get("data", {}).get("values", [])]


def test_a_bar_per_version_and_rival_and_the_ceiling() -> None:
    spec = gemm_ladder_chart(example.shape())
    rows = rows_of(spec)
    kinds = {row["label"].strip(): row["kind"] for row in rows if "label" in row}
    assert kinds["simd"] == "version"
    assert kinds["pytorch"] == "rival"
    assert kinds["onednn_packed"] == "rival, packed ahead"
    assert any(row.get("text") == "ceiling 235 GFLOP/s" for row in rows)
    assert "simd" in chart_svg(spec)


def test_what_failed_has_no_bar() -> None:
    shape = example.shape()
    broken = example.failed("mine.cpp", "wrong")
    spec = gemm_ladder_chart(msgspec.structs.replace(shape, versions=[*shape.versions, broken]))
    row = next(row for row in rows_of(spec) if row.get("label") == "mine.cpp")
    assert row["value"] == "failed" and "rate" not in row


def test_a_figure_does_not_stand_on_the_ceiling() -> None:
    rows = rows_of(gemm_ladder_chart(example.shape()))
    ends = {row["label"]: row["end"] for row in rows if "end" in row}
    assert ends["prepacked"] == 235  # its bar ends at 228
    assert ends["naive"] < 2


def test_where_memory_is_the_lower_roof_the_line_is_what_it_allows() -> None:
    rows = rows_of(gemm_ladder_chart(example.shape(1, 50257, 768)))
    # 44 GB/s at 0.5 FLOP/byte
    assert any(row.get("text") == "memory allows 22.0 GFLOP/s" for row in rows)


def test_a_ladder_without_a_ceiling() -> None:
    shape = msgspec.structs.replace(example.shape(), ceiling_flops_per_s=None)
    assert not any("ceiling" in str(row.get("text")) for row in rows_of(gemm_ladder_chart(shape)))


def test_lines_over_threads_are_of_versions_the_best_rival_and_the_ceiling() -> None:
    spec = gemm_scaling_chart([example.shape(threads=1), example.shape(threads=2)])
    names = (
        {value["name"] for value in spec["layer"][0]["data"]["values"]}
        if "data" in spec["layer"][0]
        else {value["name"] for value in spec["data"]["values"]}
    )
    assert {"ceiling", "naive", "prepacked", "onednn_packed"} <= names
    assert "pytorch" not in names
    chart_svg(spec)


def test_every_version_of_one_product_is_on_the_roofline() -> None:
    spec = gemm_roofline(example.report(), "fp32")
    assert spec is not None
    svg = chart_svg(spec)
    assert "prepacked" in svg and "DRAM" in svg


def test_of_several_products_the_best_are_on_the_roofline() -> None:
    report = example.report(
        example.shape(835, 2304, 768, label="qkv"), example.shape(1, 50257, 768, label="head")
    )
    spec = gemm_roofline(report, "fp32")
    assert spec is not None
    svg = chart_svg(spec)
    assert "qkv" in svg and "head" in svg and "loop_order" not in svg


def test_without_ceilings_or_their_type_there_is_no_roofline() -> None:
    report = example.report()
    assert gemm_roofline(msgspec.structs.replace(report, ceilings=None), "fp32") is None
    assert gemm_roofline(report, "bf16") is None
    bf16 = example.report(example.shape(dtype="bf16"))
    assert gemm_roofline(bf16, "bf16") is None  # measured in fp32 alone


def test_charts_of_a_report_in_the_order_of_reading() -> None:
    assert [chart.key for chart in gemm_charts(example.report())] == [
        "ladder0",
        "roofline_fp32",
        "threads0",
    ]
    alone = example.report(example.shape(threads=2))
    assert [chart.key for chart in gemm_charts(alone)] == ["ladder0", "roofline_fp32"]
