"""Several machines on one roofline."""

import pytest

from tests.example_machines import cpu, empty, gpu
from topout.errors import InputError
from topout.report.charts.theme import chart_svg
from topout.report.roofline.compare import compare_rooflines


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
