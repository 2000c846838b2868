"""The work of operators: shapes read from a trace, joined with a counting run, placed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from topout.cost.graph import count
from topout.profiling.phases import WRAPPERS, group_times
from topout.profiling.rates import (
    OperatorKey,
    costs_of,
    is_free,
    operator_rates,
    shapes_of,
    uncounted_operators,
    units_of,
    why_uncounted,
)
from topout.profiling.regions import Parts
from topout.profiling.slices import cut
from topout.records import Hardware, MemoryLevel
from topout.records.machine import ComputePeak

from .profile_traces import TYPES, event, op, phase, trace_of, two_layers

NS = 1e-9
PRODUCT_FLOPS = 2 * 8 * 4 * 6
PRODUCT_BYTES = 4 * (8 * 4 + 4 * 6 + 8 * 6)


def costs(*names: str):  # type: ignore[no-untyped-def]
    counted = count(lambda: torch.ones(8, 4) @ torch.ones(4, 6) + torch.ones(8, 6))
    return costs_of([counted], names)


def as_mm(trace):  # type: ignore[no-untyped-def]
    """The hand-made trace with its products called as the count calls them."""
    rows = trace.events.to_dicts()
    for row in rows:
        row["name"] = "aten::mm" if row["name"] == "aten::addmm" else row["name"]
    return trace_of(*rows)


def machine() -> Hardware:
    return Hardware(
        name="here",
        full_name="by hand",
        device="cpu",
        vendor="nobody",
        memory_bytes=1 << 30,
        levels=[MemoryLevel(name="DRAM", capacity_bytes=1 << 30, achievable_bytes_per_s=4e9)],
        compute=[ComputePeak(dtype="fp32", unit="vector", achievable_flops_per_s=1e10)],
    )


def test_rates_are_work_over_whole_time() -> None:
    trace = as_mm(two_layers())
    known = costs("aten::linear", "aten::mm", "aten::add")
    units = units_of(trace, cut(trace), [0], known, Parts(TYPES))
    (rate,) = operator_rates(units, 1, machine(), "fp32")
    assert (rate.name, rate.part, rate.family, rate.calls) == ("aten::mm", "up", "product", 2)
    assert rate.flops == 2 * PRODUCT_FLOPS and rate.bytes == 2 * PRODUCT_BYTES
    assert rate.time_s == pytest.approx(320 * NS)
    assert rate.flops_per_s == pytest.approx(2 * PRODUCT_FLOPS / (320 * NS))
    assert rate.arithmetic_intensity == pytest.approx(PRODUCT_FLOPS / PRODUCT_BYTES)
    assert rate.of_compute_ceiling == pytest.approx(rate.flops_per_s / 1e10)
    assert rate.of_bandwidth_ceiling == pytest.approx(rate.bytes_per_s / 4e9)
    # 832 bytes at 4 GB/s are 208 ns, more than half of the 320 ns.
    assert rate.level == "DRAM" and rate.bound == "memory"


def test_without_ceilings_there_are_rates_and_no_shares() -> None:
    trace = as_mm(two_layers())
    units = units_of(trace, cut(trace), [0], costs("aten::linear"), Parts(TYPES))
    (rate,) = operator_rates(units, 1, None, "fp32")
    assert rate.of_compute_ceiling is None and rate.bound is None and rate.flops_per_s > 0


def test_an_operator_on_other_shapes_is_listed_with_the_reason() -> None:
    trace = as_mm(two_layers())
    known = costs("aten::linear", "aten::mm", "aten::add")
    units = units_of(trace, cut(trace), [0], known, Parts(TYPES))
    (unknown,) = uncounted_operators(units, known)
    assert (unknown.name, unknown.calls) == ("aten::add", 1)
    assert "not on these shapes" in unknown.reason


def test_groups_add_up_to_the_operators() -> None:
    trace = as_mm(two_layers())
    slices = cut(trace)
    known = costs("aten::linear", "aten::mm", "aten::add")
    groups = group_times(slices, [0], units_of(trace, slices, [0], known, Parts(TYPES)))
    assert {group.name: round(group.total_s / NS) for group in groups} == {
        "matrix-mul": 320,
        WRAPPERS: 80,
        "other": 50,
    }
    assert sum(group.share for group in groups) == pytest.approx(1)


def test_on_a_device_the_kernels_time_counts() -> None:
    trace = trace_of(
        phase("call 1", 0, 100),
        op("aten::mm", 10, 30, external=3, shapes="[[8, 4], [4, 6]]"),
        event("kernel", "gemm", 35, 75, external=3, device=0, stream=7, thread=None),
    )
    units = units_of(trace, cut(trace), [0], costs(), Parts({}))
    (rate,) = operator_rates(units, 1, None, "fp32")
    assert rate.time_s == pytest.approx(40 * NS)


def test_the_work_of_the_same_shapes_is_the_mean() -> None:
    known = costs()
    key = OperatorKey("aten::mm", ((8, 4), (4, 6)))
    assert known.work[key].flops == PRODUCT_FLOPS
    assert known.work[key].bytes == PRODUCT_BYTES
    assert OperatorKey("aten::mm", ((8, 4), (4, 7))) not in known.work


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("aten::view", True),
        ("aten::slice", True),
        ("aten::linear", True),  # it calls others
        ("aten::empty", True),
        ("aten::mm", False),
        ("aten::gelu", False),
        ("AddmmBackward0", True),
        ("autograd::engine::evaluate_function: AddmmBackward0", True),
        ("nowhere::unheard_of", False),
    ],
)
def test_what_is_free(name: str, free: bool) -> None:
    assert is_free(name) is free


def test_an_elementwise_operator_has_the_same_work_in_place() -> None:
    known = costs()
    shapes = ((8, 6), (8, 6))
    assert (
        known.of(OperatorKey("aten::add_", shapes)) == known.work[OperatorKey("aten::add", shapes)]
    )
    assert known.of(OperatorKey("aten::mm_", ((8, 4), (4, 6)))) is None
    assert known.of(OperatorKey("aten::sub_", shapes)) is None


def test_a_batch_of_one_product_is_that_product() -> None:
    known = costs()
    product = known.work[OperatorKey("aten::mm", ((8, 4), (4, 6)))]
    assert known.of(OperatorKey("aten::bmm", ((1, 8, 4), (1, 4, 6)))) == product
    assert known.of(OperatorKey("aten::bmm", ((2, 8, 4), (2, 4, 6)))) is None


def test_a_counts_own_reason_is_told() -> None:
    known = costs()
    known.reasons["mine::op"] = "no formula"
    assert why_uncounted(known, "mine::op") == "no formula"


@given(st.text(max_size=40))
def test_any_text_has_shapes(text: str) -> None:
    assert all(isinstance(size, int) for shape in shapes_of(text) for size in shape)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=4))
def test_shapes_come_back(shapes: list[list[int]]) -> None:
    assert shapes_of(str(shapes)) == tuple(tuple(shape) for shape in shapes)
