"""The rooflines of a cost report: which machines get one, and what stands on it."""

import msgspec
import pytest
from rich.console import Console

from topout.records import CostReport
from topout.report.charts.theme import chart_svg
from topout.report.cost.rooflines import cost_points, cost_roofline_document, cost_rooflines
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
