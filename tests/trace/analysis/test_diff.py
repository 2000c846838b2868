"""What got slower between two traces made by hand."""

from pathlib import Path
from typing import Any

import pytest

from tests.trace.analysis.example_traces import (
    ADD,
    GEMM,
    Row,
    call,
    kernel,
    mark,
    operator,
    trace,
)
from topout.errors import InputError
from topout.records.trace import GroupChange, TraceDiff
from topout.report import describe
from topout.trace.analysis.diff import diff
from topout.trace.analysis.diff_over_ranks import diff_ranks
from topout.trace.analysis.groups import load_rules
from topout.trace.table import Device, Trace

RULES = load_rules()


def _steps(count: int, gemm: int, add: int) -> Trace:
    """Steps of 1000 ns, each with a matrix product and an addition that it launched."""
    rows: list[Row] = []
    for step in range(count):
        at = step * 1000
        rows += [
            mark(at, 1000, f"ProfilerStep#{step}"),
            call(at, 5, correlation=2 * step),
            kernel(at + 10, gemm, GEMM, correlation=2 * step),
            call(at + 5, 5, correlation=2 * step + 1),
            kernel(at + 10 + gemm, add, ADD, correlation=2 * step + 1),
        ]
    return trace(*rows)


def _by_name(changes: list[GroupChange]) -> dict[str, tuple[int, int]]:
    return {each.name: (round(each.before_s * 1e9), round(each.after_s * 1e9)) for each in changes}


def _said(found: TraceDiff) -> str:
    return " ".join(found.findings)


def test_steps_are_compared_however_many_each_trace_holds() -> None:
    found = diff(_steps(2, 300, 50), _steps(5, 450, 50), RULES)
    assert found.per_step
    assert _by_name(found.groups) == {"matrix-mul": (300, 450), "element-wise": (50, 50)}
    assert _by_name(found.kernels) == {GEMM: (300, 450), ADD: (50, 50)}
    first = found.groups[0]
    assert (first.name, first.ratio) == ("matrix-mul", pytest.approx(1.5))
    assert (first.before_calls, first.after_calls) == (1, 1)
    assert first.change_s == pytest.approx(150e-9)
    assert found.wall_before_s == pytest.approx(1000e-9)
    assert "The group that changed most is matrix-mul: 300 ns became 450 ns (1.50×)." in _said(
        found
    )
    assert not found.doubts


def test_work_outside_the_steps_is_left_out() -> None:
    warmup = call(-2000, 5, correlation=90), kernel(-1990, 700, correlation=90)
    late = call(2500, 5, correlation=91), kernel(2600, 700, correlation=91)
    before = _steps(2, 300, 50)
    rows = before.events.to_dicts()
    found = diff(before, trace(*rows, *warmup, *late), RULES)
    assert _by_name(found.groups)["matrix-mul"] == (300, 300)


def test_without_marked_steps_whole_traces_are_compared_and_that_is_said() -> None:
    plain = trace(kernel(0, 100), kernel(100, 50, ADD))
    found = diff(plain, _steps(3, 100, 50), RULES)
    assert not found.per_step
    assert "per_step" in found.reasons
    assert _by_name(found.groups) == {"matrix-mul": (100, 300), "element-wise": (50, 150)}
    assert any("2 kernels ran before and 6 after" in each.sentence for each in found.doubts)


def test_kernels_that_are_new_or_gone() -> None:
    found = diff(trace(kernel(0, 100, ADD)), trace(kernel(0, 200)), RULES)
    changes = {each.name: each for each in found.groups}
    assert changes["matrix-mul"].ratio is None
    assert changes["matrix-mul"].before_calls == 0
    assert changes["element-wise"].ratio == 0
    assert "matrix-mul, which is new: 200 ns" in _said(found)
    gone = diff(trace(kernel(0, 200), kernel(200, 9, ADD)), trace(kernel(0, 9, ADD)), RULES)
    assert "which is gone: it took 200 ns" in _said(gone)


def test_a_trace_and_itself_show_no_change() -> None:
    same = _steps(3, 300, 50)
    found = diff(same, same, RULES)
    assert all(each.change_s == 0 and each.ratio == 1 for each in found.groups)
    assert _said(found) == "A step takes 1.00 µs after 1.00 µs before (no change beyond 2 %)."


def test_more_idle_time_is_told() -> None:
    found = diff(
        trace(kernel(0, 100), kernel(110, 10)), trace(kernel(0, 100), kernel(190, 10)), RULES
    )
    assert "Idle time went from 10.0 ns to 90.0 ns." in _said(found)
    assert "(67 % slower)" in _said(found)


def test_other_numbers_of_devices_are_means_with_a_doubt() -> None:
    found = diff(trace(kernel(0, 100)), trace(kernel(0, 100), kernel(0, 60, device=1)), RULES)
    assert _by_name(found.groups) == {"matrix-mul": (100, 80)}
    assert any(each.about == "devices" for each in found.doubts)


def test_traces_of_the_host_alone() -> None:
    one = trace(operator(0, 100, "aten::linear"), operator(10, 80, "aten::addmm"))
    other = trace(operator(0, 150, "aten::linear"), operator(10, 130, "aten::addmm"))
    found = diff(one, other, RULES)
    assert _by_name(found.kernels) == {"aten::addmm": (80, 130), "aten::linear": (20, 20)}


def test_a_device_is_not_compared_with_a_host_nor_with_nothing() -> None:
    host, device = trace(operator(0, 10)), trace(kernel(0, 10))
    with pytest.raises(InputError, match="holds no work of a device"):
        diff(host, device, RULES)
    with pytest.raises(InputError, match="holds no work of a device"):
        diff(device, host, RULES)
    with pytest.raises(InputError, match="no kernel, copy or operator"):
        diff(device, trace(), RULES)


def test_collectives_of_the_host_are_compared_too() -> None:
    # gloo carries out the all-reduce in a thread of its own, beside the operators.
    def host(reduce: int) -> Trace:
        return trace(
            operator(0, 100, "aten::addmm"),
            mark(50, reduce, "gloo:all_reduce", thread=2, collective="all_reduce"),
        )

    found = diff(host(100), host(300), RULES)
    assert _by_name(found.groups) == {"communication": (100, 300), "matrix-mul": (100, 100)}
    assert _by_name(found.kernels)["gloo:all_reduce"] == (100, 300)
    assert "communication: 100 ns became 300 ns" in _said(found)


def test_a_summary_tells_no_idle_time() -> None:
    timed = trace(kernel(0, 100), kernel(900, 100))
    found = diff(timed, trace(kernel(0, 100), kernel(100, 100), timed=False), RULES)
    assert "Idle" not in _said(found)
    assert [each.about for each in found.doubts] == ["times"]
    assert "Idle" in _said(diff(timed, trace(kernel(0, 100), kernel(100, 100)), RULES))


def test_what_a_reader_left_out_of_either_trace_is_passed_on() -> None:
    cut = trace(kernel(0, 10), path=Path("cut.json"), doubts=("The file is cut off.",))
    whole = trace(kernel(0, 10), path=Path("whole.json"))
    for before, after in ((cut, whole), (whole, cut)):
        (doubt,) = diff(before, after, RULES).doubts
        assert (doubt.about, doubt.sentence) == ("cut.json", "The file is cut off.")
    assert diff(whole, whole, RULES).doubts == []


def _on(name: str, duration: int, **fields: Any) -> Trace:
    return trace(kernel(0, duration), devices=(Device(0, name),), **fields)


def test_another_device_is_said_before_what_got_slower() -> None:
    found = diff(_on("NVIDIA A100", 100), _on("Tesla V100", 200), RULES)
    assert found.findings[0].startswith("The devices differ: NVIDIA A100 before, Tesla V100 after.")
    assert "slower" in found.findings[1]
    assert (found.devices_before, found.devices_after) == (["NVIDIA A100"], ["Tesla V100"])
    assert found.doubts[0].about == "devices"
    told = describe(found)
    assert told.headlines[0].startswith("On Tesla V100 instead of NVIDIA A100: the trace spans")
    several = diff_ranks(
        [_on("NVIDIA A100", 100, rank=0), _on("NVIDIA A100", 100, rank=1)],
        [_on("Tesla V100", 200, rank=0), _on("Tesla V100", 200, rank=1)],
        RULES,
    )
    assert several.findings[0].startswith("The devices differ")


@pytest.mark.parametrize("names", [("A100", "A100"), ("", "V100"), ("A100", "")])
def test_the_same_device_or_one_without_a_name_is_not_said(names: tuple[str, str]) -> None:
    found = diff(_on(names[0], 100), _on(names[1], 200), RULES)
    assert "devices differ" not in " ".join(found.findings)
    assert [doubt.about for doubt in found.doubts] == []


def test_two_profilers_are_a_doubt_of_a_comparison() -> None:
    found = diff(_on("A100", 100), _on("A100", 100, format="nsys_sqlite"), RULES)
    assert [doubt.about for doubt in found.doubts] == ["formats"]
    assert "kineto before, nsys_sqlite after" in found.doubts[0].sentence
