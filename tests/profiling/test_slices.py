"""Slices of time, and what is made of them: every moment once, by operators and by regions."""

import polars as pl
import pytest

from topout.profiling.phases import operator_times, shapes_text
from topout.profiling.regions import (
    OUTSIDE,
    Parts,
    gap_times,
    median_pass,
    operator_ns,
    part_times,
    region_times,
    timeline,
)
from topout.profiling.slices import cut

from .profile_traces import MAIN, OTHER, TYPES, event, module, op, phase, trace_of, two_layers

NS = 1e-9


def test_self_times_are_those_counted_by_hand() -> None:
    trace = two_layers()
    rows = operator_times(trace, cut(trace), [0], 1000 * NS)
    assert {row.name: round(row.self_s / NS) for row in rows} == {
        "aten::addmm": 320,
        "aten::linear": 80,
        "aten::add": 50,
    }
    addmm, linear = rows[0], rows[1]
    assert (addmm.calls, linear.calls) == (2, 2)
    assert linear.total_s == pytest.approx(400 * NS) and linear.mean_s == pytest.approx(200 * NS)
    assert addmm.self_share == pytest.approx(0.32)
    assert [shape.shapes for shape in addmm.shapes] == ["[8, 4] [4, 6]"]


def test_operators_and_gaps_add_up_to_the_phase() -> None:
    slices = cut(two_layers())
    total, covered = operator_ns(slices, [0])
    gaps = gap_times(slices, [0], Parts(TYPES), 1000 * NS)
    assert total == covered == 450
    assert sum(gap.total_s for gap in gaps) == pytest.approx(550 * NS)
    assert {gap.part: round(gap.total_s / NS) for gap in gaps} == {
        OUTSIDE: 100 + 100 + 100 + 50,
        "layers.*": 2 * (50 + 20),
        "up": 2 * (10 + 20),
    }


def test_regions_and_parts_add_up_to_the_phase() -> None:
    slices = cut(two_layers())
    parts = Parts(TYPES)
    regions = region_times(slices, [0], parts, 1000 * NS)
    assert [region.name for region in regions][:2] == ["layers.0", "layers.0.up"]
    assert sum(region.self_s for region in regions) == pytest.approx(1000 * NS)
    up = next(region for region in regions if region.name == "layers.1.up")
    assert (round(up.total_s / NS), round(up.operator_s / NS), round(up.gap_s / NS)) == (
        230,
        200,
        30,
    )
    by_part = {part.name: part for part in part_times(regions, parts)}
    assert by_part["up"].calls == 2 and by_part["up"].self_s == pytest.approx(460 * NS)
    assert by_part["layers.*"].self_s == pytest.approx(140 * NS)
    assert sum(part.self_share for part in by_part.values()) == pytest.approx(1)


def test_another_threads_operators_fill_gaps_and_overlap_is_counted_once() -> None:
    slices = cut(
        trace_of(
            phase("call 1", 0, 100),
            op("aten::mm", 10, 40),
            op("aten::mul", 30, 70, thread=OTHER),
        )
    )
    total, covered = operator_ns(slices, [0])
    assert (total, covered) == (30 + 40, 60)
    gaps = gap_times(slices, [0], Parts({}), 100 * NS)
    assert sum(gap.total_s for gap in gaps) == pytest.approx((100 - 60) * NS)


def test_waiting_in_the_runtime_is_a_gap_under_its_name() -> None:
    slices = cut(
        trace_of(phase("call 1", 0, 100), event("runtime", "cudaDeviceSynchronize", 20, 90))
    )
    gaps = {g.part: round(g.total_s / NS) for g in gap_times(slices, [0], Parts({}), 100 * NS)}
    assert gaps == {"cudaDeviceSynchronize": 70, OUTSIDE: 30}


def backward_trace(around_backward: bool = False) -> pl.DataFrame:
    node = "autograd::engine::evaluate_function: AddmmBackward0"
    extra = [module("backward", 190, 390)] if around_backward else []
    trace = trace_of(
        phase("call 1", 0, 400),
        module("up", 10, 100),
        op("aten::t", 20, 30, sequence=5),
        op("aten::addmm", 30, 90, sequence=5),
        module("norm", 110, 150),
        op("aten::mul", 120, 140, sequence=6),
        *extra,
        op(node, 200, 300, sequence=5),
        op("AddmmBackward0", 210, 290, sequence=5),
        op("aten::mm", 220, 280, sequence=5),
        op("autograd::engine::evaluate_function: MulBackward0", 300, 330, sequence=6),
    )
    return cut(trace)


@pytest.mark.parametrize("around_backward", [False, True])
def test_a_backward_belongs_to_the_module_of_its_forward(around_backward: bool) -> None:
    slices = backward_trace(around_backward)
    regions = {r.name: r for r in region_times(slices, [0], Parts({}), 400 * NS)}
    assert round(regions["up"].backward_s / NS) == 100
    assert round(regions["norm"].backward_s / NS) == 30
    assert round(regions["up"].self_s / NS) == 90 + 100
    assert sum(each.self_s for each in regions.values()) == pytest.approx(400 * NS)


def test_phases_are_kept_apart_and_the_median_pass_is_drawn() -> None:
    trace = trace_of(
        phase("decode token 1", 0, 100),
        op("aten::mm", 10, 60),
        phase("decode token 2", 100, 400),
        op("aten::mm", 110, 120),
        phase("decode token 3", 400, 520),
        module("up", 410, 500),
        op("aten::add", 420, 430),
    )
    slices = cut(trace)
    (row,) = operator_times(trace, slices, [1], 300 * NS)
    assert (row.name, row.calls, round(row.self_s / NS)) == ("aten::mm", 1, 10)
    assert median_pass(slices, [0, 1, 2]) == 2
    spans = timeline(slices, 2)
    assert [(span.name, span.depth, span.kind) for span in spans] == [
        ("decode token 3", 0, "region"),
        ("up", 1, "region"),
        ("aten::add", 2, "operator"),
    ]
    assert spans[2].start_s == pytest.approx(20 * NS)
    assert len(timeline(slices, 2, most=2)) == 2


def test_what_is_outside_of_all_phases_is_in_none() -> None:
    trace = trace_of(op("aten::mm", 0, 50), phase("call 1", 100, 200), op("aten::mm", 210, 220))
    slices = cut(trace)
    assert operator_times(trace, slices, [0], 100 * NS) == []
    assert operator_ns(slices, [0]) == (0, 0)


def test_a_device_operators_time_is_that_of_its_kernels() -> None:
    trace = trace_of(
        phase("call 1", 0, 100),
        op("aten::mm", 10, 30, external=3),
        op("aten::mm", 40, 60, external=4),
        event("kernel", "gemm", 35, 75, external=3, device=0, stream=7, thread=None),
        event("kernel", "gemm", 80, 95, external=4, device=0, stream=7, thread=None),
    )
    (row,) = operator_times(trace, cut(trace), [0], 100 * NS)
    assert row.device_s == pytest.approx((40 + 15) * NS)


def test_shapes_as_people_write_them() -> None:
    assert shapes_text("[[8, 768], [], [768]]") == "[8, 768] [768]"
    assert shapes_text("[[], [[2, 3], [4, 3]], []]") == "[2, 3] [4, 3]"
    assert shapes_text(None) == shapes_text("no JSON") == shapes_text('{"a": 1}') == ""


def test_threads_are_not_mixed_up() -> None:
    """The same times on two threads: each operator is inside of what its own thread runs."""
    trace = trace_of(
        phase("call 1", 0, 100),
        op("outer", 10, 90),
        op("inner", 20, 40, thread=OTHER),
    )
    rows = {r.name: round(r.self_s / NS) for r in operator_times(trace, cut(trace), [0], 1e-7)}
    assert rows == {"outer": 80, "inner": 20}
    assert MAIN != OTHER
