"""Times from a machine's figures, by hand, with round figures."""

from typing import Any

import msgspec
import pytest

from topout.cost.hardware_times import (
    COMPUTE_SHARE,
    DEQUANTIZED_SHARE,
    HardwareTimes,
    compute_rate,
    link_of,
    memory_bandwidth,
    peak_of,
)
from topout.cost.ops import Load, Op, OpTime, Pace
from topout.records import ComputePeak, Hardware, Link, MemoryLevel

MACHINE = Hardware(
    name="round",
    full_name="Round figures",
    device="gpu",
    vendor="none",
    memory_bytes=10**10,
    compute=[
        ComputePeak(dtype="bf16", unit="vector", spec_flops_per_s=1e12),
        ComputePeak(
            dtype="bf16", unit="matrix", spec_flops_per_s=1e14, achievable_flops_per_s=8e13
        ),
        ComputePeak(dtype="fp32", unit="vector", spec_flops_per_s=1e12),
    ],
    levels=[
        MemoryLevel(name="L2", capacity_bytes=10**6, achievable_bytes_per_s=1e13),
        MemoryLevel(name="HBM", achievable_bytes_per_s=1e12, spec_bytes_per_s=2e12),
    ],
    links=[
        Link(name="fast", kind="nvlink", devices=2, achievable_bytes_per_s=1e11, latency_s=1e-6),
        Link(name="slow", kind="pcie", spec_bytes_per_s=1e10),
    ],
    reasons={"compute.fp16": "no document states it"},
)
NO_OVERHEAD = Pace(overhead=0.0)


def load(**changes: Any) -> Load:
    fields = {
        "dtype": "bf16",
        "weight_dtype": "bf16",
        "kv_dtype": "bf16",
        "working_set_bytes": 1e9,
    }
    return Load(**(fields | changes))


def linear(rows: int, n: int, k: int) -> Op:
    return Op(
        name="up",
        kind="linear",
        count=1,
        rows=rows,
        flops=2.0 * rows * n * k,
        weight_elements=float(n * k),
    )


def test_compute_and_memory() -> None:
    times = HardwareTimes(MACHINE)
    # 1000 × 1000 weights of 2 bytes at 1e12 B/s: 2 µs; 2e6 FLOPs a row at 8e13: 25 ns.
    one = times.time(linear(1, 1000, 1000), load(), NO_OVERHEAD)
    assert (one.memory_s, one.compute_s) == (pytest.approx(2e-6), pytest.approx(2.5e-8))
    assert (one.bound, one.time_s) == ("memory", pytest.approx(2e-6))
    many = times.time(linear(1000, 1000, 1000), load(), NO_OVERHEAD)
    assert (many.bound, many.time_s) == ("compute", pytest.approx(2.5e-5))


def test_quantized_weights_are_fewer_bytes_read_less_well() -> None:
    times = HardwareTimes(MACHINE)
    found = times.time(linear(1, 1000, 1000), load(weight_dtype="int4-g32"), NO_OVERHEAD)
    # 4 bits and 32 bits a group of 32: 0.625 bytes.
    expected = 0.625e6 / 1e12 / DEQUANTIZED_SHARE["int4"]
    assert found.memory_s == pytest.approx(expected)


def test_a_working_set_that_fits_a_cache_is_read_from_it() -> None:
    assert memory_bandwidth(MACHINE, 10**6) == 1e13
    assert memory_bandwidth(MACHINE, 10**6 + 1) == 1e12
    # A first-level cache is emptied between two ops.
    l1 = MemoryLevel(name="L1", capacity_bytes=10**9, achievable_bytes_per_s=1e15)
    levels = [l1, MACHINE.levels[-1]]
    assert memory_bandwidth(msgspec.structs.replace(MACHINE, levels=levels), 10) == 1e12


def test_overhead_of_a_graph_adds_and_of_eager_launches_hides() -> None:
    op = linear(1, 1000, 1000)
    compiled = HardwareTimes(MACHINE).time(op, load(), Pace())
    assert compiled.time_s == pytest.approx(2e-6 + 10e-6)
    eager = HardwareTimes(MACHINE, "eager")
    assert eager.time(op, load(), Pace()).time_s == pytest.approx(110e-6)
    assert eager.time(op, load(), Pace()).bound == "overhead"
    large = linear(1, 100_000, 10_000)  # 2 ms of bytes: the launch is hidden
    assert eager.time(large, load(), Pace()).overhead_s == 0.0


def test_collectives_go_over_the_fastest_link_that_reaches() -> None:
    reduce = Op(name="all_reduce", kind="collective", count=3, flops=0.0, activation_elements=3e6)
    fast, slow = link_of(MACHINE, 2), link_of(MACHINE, 4)
    assert fast is not None and fast.name == "fast"
    assert slow is not None and slow.name == "slow"
    found = HardwareTimes(MACHINE).time(reduce, load(tensor_parallel=2), Pace())
    # Three of 2 MB over 2 devices: 2·(1 µs + 20 µs/2) each, and 3 µs to start.
    assert found.communication_s == pytest.approx(3 * (22e-6 + 3e-6))
    assert found.bound == "communication"


def test_datasheet_figures_are_not_reached() -> None:
    assert compute_rate(MACHINE, "bf16") == 8e13  # measured, on the faster unit
    assert compute_rate(MACHINE, "fp32") == 1e12 * COMPUTE_SHARE
    assert compute_rate(MACHINE, "fp16") is None
    found = peak_of(MACHINE, "bf16")
    assert found is not None and found.unit == "matrix"


@pytest.mark.parametrize(
    ("machine", "asked", "named"),
    [
        (MACHINE, load(dtype="fp16"), "no fp16 rate (no document states it)"),
        (msgspec.structs.replace(MACHINE, levels=[]), load(), "memory bandwidth"),
        (msgspec.structs.replace(MACHINE, links=[]), load(tensor_parallel=2), "between 2 devices"),
    ],
)
def test_a_missing_figure_is_told(machine: Hardware, asked: Load, named: str) -> None:
    found = HardwareTimes(machine).missing(asked)
    assert found is not None and named in found
    assert HardwareTimes(MACHINE).missing(load()) is None


def test_the_parts_of_an_op() -> None:
    time = OpTime(compute_s=2.0, memory_s=3.0, overhead_s=4.0, communication_s=0.5)
    assert time.time_s == 7.5
    assert time.bound == "overhead"
