"""Busy, idle and kinds of work by hand, and what must hold for any events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.trace.analysis.example_traces import (
    ADD,
    ALL_REDUCE,
    GEMM,
    Row,
    collective,
    copy,
    kernel,
    mark,
    operator,
    trace,
)
from topout.records.trace import DeviceTime
from topout.trace.analysis.breakdown import NOT_TIMED, break_down
from topout.trace.analysis.groups import load_rules
from topout.trace.table import Device, Trace

RULES = load_rules()
_NAMES = {"compute": GEMM, "communication": ALL_REDUCE, "memory": "Memcpy HtoD"}


def _only(of: Trace) -> DeviceTime:
    (found,) = break_down(of, RULES)
    return found


def test_streams_that_work_at_once_count_once() -> None:
    # compute [0, 100) and [150, 250), all-reduce [50, 180), copy [240, 300), idle [300, 310).
    found = _only(
        trace(
            kernel(0, 100),
            collective(50, 130),
            kernel(150, 100, ADD),
            copy(240, 60, stream=9),
            kernel(310, 10),
        )
    )
    assert found.wall_s == pytest.approx(320e-9)
    assert found.busy_s == pytest.approx(310e-9)
    assert found.idle_s == pytest.approx(10e-9)
    assert found.compute_s == pytest.approx(210e-9)
    assert found.communication_s == pytest.approx(130e-9)
    assert found.memory_s == pytest.approx(60e-9)
    assert found.overlap_s == pytest.approx((50 + 30 + 10) * 1e-9)
    assert found.exposed_communication_s == pytest.approx(50e-9)  # [100, 150)
    assert found.utilization == pytest.approx(310 / 320)


def test_a_region_that_spans_kernels_is_no_work() -> None:
    region = kernel(0, 1000, "ProfilerStep#1", kind="gpu_annotation")
    found = _only(trace(region, kernel(10, 20), kernel(50, 20)))
    assert found.busy_s == pytest.approx(40e-9)
    assert found.wall_s == pytest.approx(60e-9)
    assert [group.name for group in found.groups] == ["matrix-mul"]


def test_copies_from_device_to_device_are_communication() -> None:
    found = _only(trace(kernel(0, 10), copy(10, 30, "PtoP", from_device=0, to_device=1)))
    assert found.communication_s == pytest.approx(30e-9)
    assert found.memory_s == 0


def test_a_kernel_with_the_figures_of_a_collective_is_one_whatever_its_name() -> None:
    found = _only(trace(collective(0, 50, name="vendor_kernel"), kernel(50, 50)))
    assert found.communication_s == pytest.approx(50e-9)


def test_each_device_has_its_own_time() -> None:
    two = trace(
        kernel(0, 100),
        kernel(40, 10, device=1),
        devices=(Device(0, "V100"), Device(1, "V100")),
    )
    found = break_down(two, RULES)
    assert [(each.device, each.name, each.busy_s) for each in found] == [
        (0, "V100", pytest.approx(100e-9)),
        (1, "V100", pytest.approx(10e-9)),
    ]


def test_occupancy_is_weighted_by_time_and_absent_with_a_reason() -> None:
    # (0.5 × 30 + 0.1 × 10) / 40; the copy says nothing of it.
    found = _only(trace(kernel(0, 30, occupancy=0.5), kernel(30, 10, occupancy=0.1), copy(40, 99)))
    assert found.occupancy == pytest.approx(0.4)
    without = _only(trace(kernel(0, 30)))
    assert without.occupancy is None
    assert "occupancy" in without.reasons


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(sorted(_NAMES)), st.integers(0, 60), st.integers(0, 15), st.integers(1, 3)
    ),
    min_size=1,
    max_size=20,
)


def _rows(events: list[tuple[str, int, int, int]]) -> list[Row]:
    return [
        kernel(
            start, length, _NAMES[kind], stream=stream,
            kind="memcpy" if kind == "memory" else "kernel",
        )
        for kind, start, length, stream in events
    ]  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(_EVENTS)
def test_times_are_those_counted_moment_by_moment(events: list[tuple[str, int, int, int]]) -> None:
    found = _only(trace(*_rows(events)))
    covered = {
        kind: {at for of, start, length, _ in events if of == kind
               for at in range(start, start + length)}
        for kind in _NAMES
    }  # fmt: skip
    busy = set().union(*covered.values())
    wall = max(s + n for _, s, n, _ in events) - min(s for _, s, _, _ in events)
    assert round(found.wall_s * 1e9) == wall
    assert round(found.busy_s * 1e9) == len(busy)
    assert round(found.busy_s * 1e9) + round(found.idle_s * 1e9) == wall
    for kind, moments in covered.items():
        assert round(getattr(found, f"{kind}_s") * 1e9) == len(moments)
    times = sum(len(moments) for moments in covered.values())
    assert round(found.overlap_s * 1e9) == times - len(busy)
    exposed = covered["communication"] - covered["compute"]
    assert round(found.exposed_communication_s * 1e9) == len(exposed)


@settings(deadline=None, max_examples=30)
@given(_EVENTS, st.randoms(use_true_random=False))
def test_rows_in_another_order_give_the_same_times(
    events: list[tuple[str, int, int, int]], random: object
) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (_only(trace(*_rows(each))) for each in (events, shuffled))
    assert replace(one, kernels=[], groups=[]) == replace(other, kernels=[], groups=[])


def test_a_trace_of_the_host_alone_tells_the_time_of_its_operators() -> None:
    # linear [0, 100) holds addmm [20, 80); add [150, 200); gloo runs beside them in [60, 160).
    found = _only(
        trace(
            mark(0, 250, "ProfilerStep#1"),
            operator(0, 100, "aten::linear"),
            operator(20, 60, "aten::addmm"),
            operator(150, 50, "aten::add"),
            mark(60, 100, "gloo:all_reduce", thread=2, collective="all_reduce"),
        )
    )
    assert found.device == -1
    assert found.wall_s == pytest.approx(250e-9)
    assert found.busy_s == pytest.approx(200e-9)
    assert found.compute_s == pytest.approx(150e-9)
    assert found.communication_s == pytest.approx(100e-9)
    assert found.overlap_s == pytest.approx(50e-9)
    assert found.exposed_communication_s == pytest.approx(50e-9)
    own = {each.name: round(each.total_s * 1e9) for each in found.kernels}
    assert own == {"gloo:all_reduce": 100, "aten::addmm": 60, "aten::add": 50, "aten::linear": 40}
    shares = {each.name: round(each.total_s * 1e9) for each in found.groups}
    assert shares == {"matrix-mul": 100, "communication": 100, "element-wise": 50}


def test_figures_of_the_hosts_operators() -> None:
    """Two linears with an addmm in the first, an add that ends the trace, a view of no length."""
    found = _only(
        trace(
            operator(0, 100, "aten::linear"),
            operator(20, 60, "aten::addmm"),
            operator(100, 10, "aten::linear"),
            operator(110, 40, "aten::add"),
            operator(150, 0, "aten::view"),
            operator(149, 1, "aten::mul", thread=2),
            host="node7",
        )
    )
    assert (found.device, found.name, found.file) == (-1, "node7", "example.json")
    # Own times: linear 40 and 10, addmm 60, add 40, mul 1, view 0: 151 ns together.
    assert [
        (
            each.name,
            each.calls,
            round(each.total_s * 1e9, 3),
            round(each.mean_s * 1e9, 3),
            round(each.min_s * 1e9, 3),
            round(each.max_s * 1e9, 3),
            round(each.share, 9),
        )
        for each in found.kernels
    ] == [
        ("aten::addmm", 1, 60, 60, 60, 60, round(60 / 151, 9)),
        ("aten::linear", 2, 50, 25, 10, 40, round(50 / 151, 9)),
        ("aten::add", 1, 40, 40, 40, 40, round(40 / 151, 9)),
        ("aten::mul", 1, 1, 1, 1, 1, round(1 / 151, 9)),
        ("aten::view", 1, 0, 0, 0, 0, 0),
    ]
    groups = {each.name: each for each in found.groups}
    assert [each.name for each in found.groups][:2] == ["matrix-mul", "element-wise"]
    assert (groups["matrix-mul"].calls, groups["element-wise"].calls) == (3, 2)
    assert groups["matrix-mul"].total_s == pytest.approx(110e-9)
    assert groups["matrix-mul"].share == pytest.approx(110 / 151)
    assert groups["matrix-mul"].examples == ["aten::addmm", "aten::linear"]
    assert groups["element-wise"].examples == ["aten::add", "aten::mul"]
    assert {each.group for each in found.kernels[:2]} == {"matrix-mul"}
    assert sum(each.share for each in found.groups) == pytest.approx(1)


def test_an_operator_that_only_queues_a_collective_is_no_compute() -> None:
    found = _only(trace(operator(0, 30, "c10d::allreduce_"), operator(30, 10, "aten::add")))
    assert found.compute_s == pytest.approx(10e-9)
    assert found.communication_s == pytest.approx(30e-9)


def test_nothing_to_break_down() -> None:
    assert break_down(trace(mark(0, 10, "ProfilerStep#1")), RULES) == []
    assert break_down(trace(), RULES) == []


def test_many_events_that_overlap_by_a_nanosecond() -> None:
    # Pairs of 10 ns that overlap by 1 ns, every 40 ns.
    rows = [
        kernel(start + later, 10, stream=later)
        for start in range(0, 40_000, 40)
        for later in (0, 9)
    ]
    assert round(_only(trace(*rows)).busy_s * 1e9) == 1000 * 19


def test_of_a_summary_what_depends_on_time_is_absent_with_a_reason() -> None:
    found = _only(trace(kernel(0, 60), collective(60, 40), timed=False))
    assert found.busy_s == found.wall_s == pytest.approx(100e-9)
    assert (found.compute_s, found.communication_s) == (pytest.approx(60e-9), pytest.approx(40e-9))
    for name in ("idle_s", "overlap_s", "exposed_communication_s", "utilization"):
        assert getattr(found, name) is None
        assert found.reasons[name] == NOT_TIMED
    assert {each.name for each in found.groups} == {"matrix-mul", "communication"}
