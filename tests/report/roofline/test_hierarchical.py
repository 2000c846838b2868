"""The roofline of a machine and of several: what is drawn, where, and what is refused."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from tests.example_machines import cpu, empty, gpu, peak
from topout.cost.roofs import RooflinePoint, roofs_of
from topout.errors import InputError
from topout.report.charts.theme import Spec, chart_png, chart_svg
from topout.report.roofline.hierarchical import compare_rooflines, hierarchical_roofline, rate_scale

NAMES = ("qkv", "attention", "attention_out", "mlp_up", "mlp_down", "head", "norms")


def crowd() -> list[RooflinePoint]:
    """Two phases of seven ops each, near each other, and a measured one."""
    points = [
        RooflinePoint(
            name=name,
            group=phase,
            arithmetic_intensity=intensity * (1 + 0.04 * i),
            flops_per_s=min(271e12, 1.5e12 * intensity) * (0.6 + 0.05 * i),
            predicted=True,
        )
        for phase, intensity in (("prefill", 400.0), ("decode", 1.0))
        for i, name in enumerate(NAMES)
    ]
    measured = RooflinePoint(
        name="decode",
        group="decode",
        arithmetic_intensity=1.0,
        flops_per_s=0.3e12,
        predicted=False,
        detail="of a climb",
    )
    return [*points, measured]


def layers(spec: Spec, kind: str) -> list[Any]:
    """The marks of one kind with their rows."""
    found = []
    for layer in spec["layer"]:
        rows = spec["datasets"][layer["data"]["name"]] if "name" in layer["data"] else None
        if layer["mark"]["type"] == kind:
            found.append((layer["mark"], rows or layer["data"]["values"], layer["encoding"]))
    return found


def lines(spec: Spec, dashed: bool) -> dict[str, list[dict[str, Any]]]:
    """The ends of the solid or dashed lines, by label."""
    ends: dict[str, list[dict[str, Any]]] = {}
    for mark, rows, _ in layers(spec, "line"):
        if bool(mark.get("strokeDash")) == dashed:
            for row in rows:
                ends.setdefault(row["label"], []).append(row)
    return ends


def texts(spec: Spec) -> list[str]:
    fields = ("label", "text", "name")
    return [
        next(str(row[field]) for field in fields if field in row)
        for _, rows, _ in layers(spec, "text")
        for row in rows
    ]


def test_every_level_and_type_has_a_roof_at_its_rate() -> None:
    solid = lines(hierarchical_roofline(cpu()), dashed=False)
    assert set(solid) == {
        "L1 400 GB/s",
        "L2 390 GB/s",
        "L3 80.0 GB/s",
        "DRAM 20.0 GB/s",
        "fp32 100 GFLOP/s",
        "bf16 200 GFLOP/s",
        "int8 400 GOP/s",
    }
    for end in solid["DRAM 20.0 GB/s"]:
        assert end["rate"] / end["intensity"] == pytest.approx(20)
    assert {end["rate"] for end in solid["bf16 200 GFLOP/s"]} == {200}
    # a flat roof begins at the steepest of the rising ones: 200 / 400
    assert solid["bf16 200 GFLOP/s"][0]["intensity"] == pytest.approx(0.5)


def test_what_was_reached_is_solid_and_the_datasheet_dashed() -> None:
    machine = replace(gpu(), compute=[peak("bf16", "matrix", 312e12, 200e12)])
    spec = hierarchical_roofline(machine)
    both = "bf16 200 TFLOP/s (datasheet 312 TFLOP/s)"
    assert {end["rate"] for end in lines(spec, dashed=False)[both]} == {200}
    dashed = lines(spec, dashed=True)
    assert {end["rate"] for end in dashed[both]} == {312}
    assert set(dashed) == {both, "L2 5.00 TB/s", "HBM 1.50 TB/s"}


def test_each_roof_is_named_once() -> None:
    named = texts(hierarchical_roofline(gpu()))
    for label in ("bf16 271 TFLOP/s (datasheet 312 TFLOP/s)", "HBM 1.50 TB/s"):
        assert named.count(label) == 1


def test_types_of_equal_rates_share_a_roof() -> None:
    machine = replace(
        gpu(), compute=[peak("fp16", "matrix", 312e12), peak("bf16", "matrix", 312e12)]
    )
    assert "fp16, bf16 312 TFLOP/s" in texts(hierarchical_roofline(machine))


def test_the_roofs_of_doubles_are_drawn_when_asked_for() -> None:
    assert not any("fp64" in text for text in texts(hierarchical_roofline(cpu())))
    named = texts(hierarchical_roofline(cpu(), dtype="fp64"))
    assert "fp64 50.0 GFLOP/s (half of fp32)" in named


def test_a_unit_can_be_chosen() -> None:
    assert "fp64 9.70 TFLOP/s" in texts(hierarchical_roofline(gpu(), dtype="fp64", unit="vector"))
    assert "fp64, fp32 19.5 TFLOP/s" in texts(hierarchical_roofline(gpu(), dtype="fp64"))


def test_the_five_regions_are_named_and_shaded() -> None:
    spec = hierarchical_roofline(cpu(), dtype="fp32")
    named = texts(spec)
    for region in (
        "memory-bound",
        "compute-bound",
        "poor",
        "unattainable: above the bandwidth roof",
        "unattainable: above the compute roof",
    ):
        assert named.count(region) == 1
    assert len(layers(spec, "area")) == 5


def test_the_regions_lie_between_the_roof_and_its_half() -> None:
    areas = layers(hierarchical_roofline(cpu(), dtype="fp32"), "area")
    bands = [rows for _, rows, _ in areas if all(r["low"] == r["rate"] / 2 for r in rows)]
    assert len(bands) == 2  # memory-bound and compute-bound
    for row in (row for rows in bands for row in rows):
        assert row["rate"] == pytest.approx(min(100, 20 * row["intensity"]))


def test_the_ridge_points_are_marked() -> None:
    spec = hierarchical_roofline(gpu(), dtype="fp16")
    diamonds = {
        row["of"]: row["intensity"]
        for mark, rows, _ in layers(spec, "point")
        for row in rows
        if mark.get("shape") == "diamond"
    }
    assert diamonds["HBM and fp16"] == 208  # 312 / 1.5
    assert diamonds["HBM and fp32"] == 13
    assert "ridge 208 FLOP/byte" in texts(spec)


def test_points_carry_what_their_tooltip_says() -> None:
    spec = hierarchical_roofline(gpu(), crowd(), dtype="bf16")
    rows = [row for _, rows, _ in layers(spec, "point") for row in rows if "region" in row]
    assert len(rows) == 15
    measured = next(row for row in rows if row["kind"] == "measured")
    assert measured["attainable"] == "1.50 TFLOP/s"
    assert measured["share"] == "20 %"
    assert measured["region"] == "poor"
    assert measured["detail"] == "of a climb"
    assert sum(row["kind"] == "predicted" for row in rows) == 14


def test_work_without_a_place_is_left_out() -> None:
    nothing = replace(crowd()[0], flops_per_s=0.0)
    no_flops = replace(crowd()[0], arithmetic_intensity=0.0, flops_per_s=1e-320)
    spec = hierarchical_roofline(gpu(), [nothing, no_flops])
    assert not [row for _, rows, _ in layers(spec, "point") for row in rows if "region" in row]


def test_all_points_and_ridges_are_inside_the_axes() -> None:
    far = replace(crowd()[0], arithmetic_intensity=1e5, flops_per_s=1e7)
    for machine, points in ((gpu(), [*crowd(), far]), (cpu(), crowd()), (cpu(), [])):
        spec = hierarchical_roofline(machine, points)
        domains = {
            name: encoding[name]["scale"]["domain"]
            for _, _, encoding in layers(spec, "line")
            for name in ("x", "y")
        }
        scale, _ = rate_scale(max(roof.flops_per_s for roof in roofs_of(machine).compute))
        for point in points:
            assert domains["x"][0] < point.arithmetic_intensity < domains["x"][1]
            assert domains["y"][0] < point.flops_per_s / scale < domains["y"][1]


def test_it_is_drawn_without_a_browser() -> None:
    for spec in (
        hierarchical_roofline(cpu()),
        hierarchical_roofline(gpu(), crowd()),
        hierarchical_roofline(gpu(), crowd()[:1]),
    ):
        svg = chart_svg(spec)
        assert svg.startswith("<svg")
        assert not re.search(r"\bNaN\b|undefined", svg)
    assert chart_png(hierarchical_roofline(gpu()), scale=1.0).startswith(b"\x89PNG")


def test_it_can_be_zoomed_and_leaves_the_wheel_to_the_page() -> None:
    (hand,) = hierarchical_roofline(gpu())["params"]
    assert hand["bind"] == "scales"
    assert "shiftKey" in hand["select"]["zoom"]


def test_a_machine_without_the_figures_is_refused() -> None:
    with pytest.raises(InputError, match="bare has no bandwidth roof"):
        hierarchical_roofline(empty())
    with pytest.raises(InputError, match="gpu has no int4 roof"):
        hierarchical_roofline(gpu(), dtype="int4")


def test_names_from_outside_are_text() -> None:
    marked = replace(crowd()[0], name="<script>alert(1)</script>")
    svg = chart_svg(hierarchical_roofline(gpu(), [marked]))
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg


def test_each_machine_has_its_memory_its_arithmetic_and_its_ridge() -> None:
    svg = chart_svg(compare_rooflines([gpu("one"), cpu()], "fp32"))
    for label in (
        "one, HBM 1.50 TB/s",
        "one, fp32 19.5 TFLOP/s",
        "here, DRAM 20.0 GB/s",
        "here, fp32 100 GFLOP/s",
    ):
        assert label in svg


def test_datasheets_are_dashed_and_measurements_solid() -> None:
    spec = compare_rooflines([gpu("one"), cpu()], "fp32")
    dashes = {
        layer["mark"]["color"]: bool(layer["mark"].get("strokeDash"))
        for layer in spec["layer"]
        if layer["mark"]["type"] == "line"
    }
    assert sorted(dashes.values()) == [False, True]


def test_the_ridge_points_are_theirs() -> None:
    spec = compare_rooflines([gpu("one"), cpu()], "fp32")
    rows = [row for data in spec["datasets"].values() for row in data] if "datasets" in spec else []
    rows = rows or [row for layer in spec["layer"] for row in layer["data"]["values"]]
    ridges = {row["of"]: row["intensity"] for row in rows if "of" in row}
    assert ridges == {"one": 13.0, "here": 5.0}  # 19.5 / 1.5 and 100 / 20


def test_four_machines_are_drawn_and_five_refused() -> None:
    assert chart_svg(compare_rooflines([gpu(f"m{i}") for i in range(4)], "bf16"))
    for count in (0, 5):
        with pytest.raises(InputError, match=f"{count} machines"):
            compare_rooflines([gpu()] * count, "bf16")


def test_a_machine_without_the_roof_is_named() -> None:
    with pytest.raises(InputError, match="bare has no bandwidth"):
        compare_rooflines([gpu(), empty()], "bf16")
    with pytest.raises(InputError, match="here has no int4"):
        compare_rooflines([cpu()], "int4")
