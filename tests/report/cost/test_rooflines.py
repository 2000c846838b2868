"""The rooflines of a cost report: which machines get one, what stands on it, and the table."""

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

from tests.example_machines import cpu, empty, gpu
from topout.cost.roofs import RooflinePoint
from topout.records import CostReport, Hardware
from topout.report.charts.theme import chart_svg
from topout.report.cost.rooflines import (
    cost_points,
    cost_roofline_document,
    cost_rooflines,
    roofline_document,
)
from topout.report.to_terminal import to_terminal
from topout.verbs.cost_request import CostRequest
from topout.verbs.report_cost import report_cost


def report(*machines: str) -> CostReport:
    return report_cost(CostRequest(model="gpt2", on=list(machines), dtype="fp16"))


def test_one_chart_a_machine_and_one_of_all() -> None:
    charts = cost_rooflines(report("a100-80gb", "t4"))
    assert [title for title, _ in charts] == [
        "Roofline of a100-80gb: gpt2",
        "Roofline of t4: gpt2",
        "The machines' fp16 rooflines together",
    ]
    assert chart_svg(charts[0][1]).startswith("<svg")


def test_points_are_the_products_at_their_predicted_rates() -> None:
    found = report("h200")
    machine = found.machines[0]
    points = cost_points(found, machine)
    (qkv,) = [point for point in points if (point.name, point.group) == ("qkv", "decode")]
    (op,) = [op for op in machine.ops if (op.name, op.phase) == ("qkv", "decode")]
    assert op.time_s is not None
    assert qkv.flops_per_s == pytest.approx(op.flops / op.time_s)
    assert qkv.arithmetic_intensity == pytest.approx(op.flops / op.bytes)
    assert qkv.predicted and not any(point.group == "training" for point in points)


def test_a_machine_without_times_has_no_chart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    assert cost_rooflines(report()) == []
    whole = report("h200")
    bare = msgspec.structs.replace(whole.machines[0], hardware=None)
    assert cost_rooflines(msgspec.structs.replace(whole, machines=[bare])) == []


def test_the_table_is_sorted_by_intensity_and_names_phases() -> None:
    console = Console(width=80, record=True, file=None)
    with console.capture() as captured:
        console.print(to_terminal(cost_roofline_document(report("a100-80gb"))))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith(("decode", "prefill"))]
    assert rows[0].startswith("decode, attention") and rows[-1].startswith("prefill, mlp")


POINTS = [
    RooflinePoint(
        name=name,
        group="ops",
        arithmetic_intensity=intensity,
        flops_per_s=rate,
        predicted=predicted,
    )
    for name, intensity, rate, predicted in (
        ("mlp_up of prefill", 400.0, 200e12, True),
        ("attention", 1.0, 1.4e12, True),
        ("decode", 2.0, 1.0e12, False),
        ("cached", 3.0, 9e12, False),
    )
]


def shown(hardware: Hardware, points: list[RooflinePoint] | None = None) -> list[str]:
    console = Console(width=80, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        document = roofline_document(POINTS if points is None else points, hardware)
        console.print(to_terminal(document))
    return capture.get().splitlines()


def cells(hardware: Hardware) -> dict[str, str]:
    """What stands in each line beside the name, in the order of the lines."""
    found = {}
    for line in shown(hardware):
        for point in POINTS:
            if line.startswith(point.name):
                found[point.name] = " ".join(line.removeprefix(point.name).split())
    return found


def test_work_is_sorted_by_intensity() -> None:
    assert list(cells(gpu())) == ["attention", "decode", "cached", "mlp_up of prefill"]


def test_each_line_has_rate_attainable_share_and_region() -> None:
    assert cells(gpu()) == {
        # 1.5 TB/s · 1 FLOP/byte; 1.4 / 1.5 = 93 %
        "attention": "1.00 ~1.40 TFLOP/s 1.50 TFLOP/s 93 % memory-bound",
        "decode": "2.00 1.00 TFLOP/s 3.00 TFLOP/s 33 % poor, memory",
        "cached": "3.00 9.00 TFLOP/s 4.50 TFLOP/s >100 % above bandwidth",
        # of 271 TFLOP/s
        "mlp_up of prefill": "400 ~200 TFLOP/s 271 TFLOP/s 74 % compute-bound",
    }


def test_it_fits_80_columns() -> None:
    long = [replace(POINTS[0], name="a very long name of an op that goes on and on")]
    assert all(len(line) <= 80 for line in [*shown(gpu()), *shown(gpu(), long)])


def test_the_heading_names_the_roofs_and_where_they_meet() -> None:
    heading = " ".join(shown(cpu())[:2])
    assert "DRAM 20.0 GB/s" in heading
    assert "ridge point 10.0 FLOP/byte" in heading  # bf16 200 / 20


def test_without_roofs_nothing_is_placed() -> None:
    lines = shown(empty())
    assert "do not suffice" in " ".join(lines)
    assert any(line.rstrip().endswith("–") for line in lines)
