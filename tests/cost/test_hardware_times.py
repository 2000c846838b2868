"""Times from a machine's figures, by hand, with round figures."""

from typing import Any

import msgspec
import pytest

from topout.cost.hardware_times import (
    COMPUTE_SHARE,
    DEQUANTIZED_SHARE,
    HardwareTimes,
    compute_rate,
    group_bandwidth,
    level_rate,
    link_bandwidth,
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


def test_paces_of_the_two_modes() -> None:
    compiled, eager = HardwareTimes(MACHINE), HardwareTimes(MACHINE, "eager")
    assert compiled.fast == Pace(compute=1.25, bandwidth=1.12, overhead=0.7)
    assert compiled.slow == Pace(compute=0.7, bandwidth=0.85, overhead=1.6)
    assert eager.fast == Pace(compute=1.25, bandwidth=1.12, overhead=0.3)
    assert eager.slow == Pace(compute=0.7, bandwidth=0.85, overhead=1.3)


def test_a_pace_divides_times_and_multiplies_overhead() -> None:
    times, pace = HardwareTimes(MACHINE), Pace(compute=2.0, bandwidth=4.0, overhead=3.0)
    # 64 rows of 1e6 weights: 1.28e8 FLOPs at 8e13 are 1.6 µs, 2e6 bytes at 1e12 are 2 µs.
    plain = times.time(linear(64, 1000, 1000), load(), Pace())
    assert plain.compute_s == pytest.approx(1.6e-6)
    assert plain.memory_s == pytest.approx(2e-6)
    assert plain.overhead_s == pytest.approx(10e-6)
    paced = times.time(linear(64, 1000, 1000), load(), pace)
    assert paced.compute_s == pytest.approx(0.8e-6)
    assert paced.memory_s == pytest.approx(0.5e-6)
    assert paced.overhead_s == pytest.approx(30e-6)
    assert paced.time_s == pytest.approx(30.8e-6)
    reduce = Op(name="all_reduce", kind="collective", count=3, flops=0.0, activation_elements=3e6)
    # As below, three times over.
    found = times.time(reduce, load(tensor_parallel=2), pace)
    assert found.communication_s == pytest.approx(3 * 3 * (22e-6 + 3e-6))


def test_overhead_is_of_each_run_and_hides_behind_the_longer_part() -> None:
    three = msgspec.structs.replace(linear(1, 1000, 1000), count=3)
    assert HardwareTimes(MACHINE).time(three, load(), Pace()).overhead_s == pytest.approx(30e-6)
    eager = HardwareTimes(MACHINE, "eager")
    # 330 µs of launches, of which 2 µs of bytes (or 1.6 µs of FLOPs) run at the same time.
    assert eager.time(three, load(), Pace()).overhead_s == pytest.approx(328e-6)
    walked = Op(name="norms", kind="elementwise", count=2, flops=1e9, activation_elements=5e6)
    assert HardwareTimes(MACHINE).time(walked, load(), Pace()).overhead_s == 0.0
    # 1e7 bytes at 1e12 are 10 µs; 2·110 µs of launches. FLOPs of no product take no time.
    found = eager.time(walked, load(), Pace())
    assert (found.compute_s, found.memory_s) == (0.0, pytest.approx(10e-6))
    assert found.overhead_s == pytest.approx(210e-6)
    on_cpu = HardwareTimes(msgspec.structs.replace(MACHINE, device="cpu"), "eager")
    assert on_cpu.time(walked, load(), Pace()).overhead_s == pytest.approx(24e-6)
    assert on_cpu.time(three, load(), Pace()).overhead_s == pytest.approx(24e-6)


def test_attention_reaches_a_share_of_the_rate_and_reads_the_cache() -> None:
    op = Op(name="attention", kind="attention", count=1, flops=4.8e9, kv_elements=3e6)
    op = msgspec.structs.replace(op, activation_elements=1e6, weight_elements=1e6)
    found = HardwareTimes(MACHINE).time(op, load(weight_dtype="int8"), NO_OVERHEAD)
    # 4.8e9 at 60 % of 8e13: 100 µs; 1e6 bytes of int8 at 80 %, 2e6 and 6e6 at all of 1e12.
    assert found.compute_s == pytest.approx(100e-6)
    assert found.memory_s == pytest.approx(1.25e-6 + 2e-6 + 6e-6)


def test_gradients_go_between_replicas_and_a_gather_goes_round_once() -> None:
    times = HardwareTimes(MACHINE)
    gradients = Op(name="gradient_all_reduce", kind="collective", over="data", count=1, flops=0.0)
    gradients = msgspec.structs.replace(gradients, fixed_bytes=1.6e6)
    # Four replicas over the slow link, 80 % of 1e10: ring 2·3·(1 µs + 200 µs/4) = 306 µs.
    found = times.time(gradients, load(tensor_parallel=2, data_parallel=4), Pace())
    assert found.communication_s == pytest.approx(306e-6 + 3e-6)
    gather = msgspec.structs.replace(gradients, collective="all_gather", over="tensor")
    # Two devices over the fast link: 1·(1 µs + 16 µs/2).
    found = times.time(gather, load(tensor_parallel=2, data_parallel=4), Pace())
    assert found.communication_s == pytest.approx(9e-6 + 3e-6)
    late = Link(name="late", kind="nvlink", achievable_bytes_per_s=1e11, latency_s=5e-6)
    slow = HardwareTimes(msgspec.structs.replace(MACHINE, links=[late]))
    found = slow.time(gather, load(tensor_parallel=2), Pace())
    assert found.communication_s == pytest.approx(5e-6 + 8e-6 + 3e-6)


def test_members_of_a_node_share_what_it_sends() -> None:
    """Nodes of eight devices on a fast link, each with a slow link of its own to other nodes."""
    near = Link(name="near", kind="nvlink", devices=8, achievable_bytes_per_s=2e11)
    far = Link(name="far", kind="infiniband", achievable_bytes_per_s=2e10)
    machine = msgspec.structs.replace(MACHINE, links=[near, far])

    def rate(**changes: int) -> dict[str, float]:
        groups = load(**changes).groups
        return {name: group_bandwidth(machine, groups[name]) for name in groups}

    assert rate(data_parallel=8) == {"data": 2e11}
    # Sixteen replicas: eight in each node, whose links together are 1.6e11.
    assert rate(data_parallel=16) == {"data": 1.6e11}
    # Of every two neighbours one is of the group: four in each node.
    assert rate(tensor_parallel=2, data_parallel=16) == {"tensor": 2e11, "data": 8e10}
    # One in each node; and stages are in nodes of their own.
    assert rate(tensor_parallel=8, data_parallel=2) == {"tensor": 2e11, "data": 2e10}
    assert rate(tensor_parallel=8, pipeline_parallel=2) == {"tensor": 2e11, "pipeline": 2e10}
    assert rate(pipeline_parallel=4) == {"pipeline": 2e11}
    # Never faster than the link within the node.
    fast = msgspec.structs.replace(far, achievable_bytes_per_s=1e11)
    machine = msgspec.structs.replace(MACHINE, links=[near, fast])
    assert rate(data_parallel=16) == {"data": 2e11}


def test_one_device_needs_no_link() -> None:
    alone = HardwareTimes(msgspec.structs.replace(MACHINE, links=[]))
    assert alone.missing(load()) is None
    for many in (load(tensor_parallel=2), load(data_parallel=2)):
        assert alone.missing(many) == "round has no link between 2 devices"
    found = alone.missing(load(tensor_parallel=4, data_parallel=8))
    assert found is not None and "between 4 devices" in found
    near = msgspec.structs.replace(MACHINE, links=MACHINE.links[:1])  # joins two
    found = HardwareTimes(near).missing(load(tensor_parallel=2, pipeline_parallel=3))
    assert found is not None and "between 6 devices" in found


def test_a_link_without_a_figure_is_no_link() -> None:
    silent = Link(name="silent", kind="nvlink")
    assert link_bandwidth(silent) == 0.0
    assert link_of(msgspec.structs.replace(MACHINE, links=[silent]), 2) is None
    # One byte a second is one; a link of just as many devices reaches.
    slowest = Link(name="slowest", kind="pcie", devices=2, achievable_bytes_per_s=1.0)
    machine = msgspec.structs.replace(MACHINE, links=[silent, slowest])
    assert link_of(machine, 2) == slowest
    assert link_of(machine, 3) is None
    assert link_bandwidth(MACHINE.links[1]) == 1e10 * 0.8
    assert link_bandwidth(MACHINE.links[0]) == 1e11


def test_rates_of_levels() -> None:
    measured = MemoryLevel(name="HBM", achievable_bytes_per_s=1e12, spec_bytes_per_s=2e12)
    assert level_rate(measured) == 1e12
    assert level_rate(MemoryLevel(name="HBM", spec_bytes_per_s=2e12)) == 2e12 * 0.85
    assert level_rate(MemoryLevel(name="HBM")) is None
    # Caches without a size or a rate are passed over.
    sizeless = MemoryLevel(name="L2", achievable_bytes_per_s=1e13)
    rateless = MemoryLevel(name="L3", capacity_bytes=10**9)
    machine = msgspec.structs.replace(MACHINE, levels=[sizeless, rateless, *MACHINE.levels])
    assert memory_bandwidth(machine, 10) == 1e13
    assert memory_bandwidth(msgspec.structs.replace(MACHINE, levels=[]), 10) is None


def test_the_faster_unit_counts_by_what_it_reaches() -> None:
    def compute(*peaks: tuple[str, float | None, float | None]) -> Hardware:
        units = [
            ComputePeak(
                dtype="bf16",
                unit=unit,  # type: ignore[arg-type]
                spec_flops_per_s=spec,
                achievable_flops_per_s=achieved,
            )
            for unit, spec, achieved in peaks
        ]
        return msgspec.structs.replace(MACHINE, compute=units)

    # Measured at 5e12, where its datasheet says 1e12, against 4e12 of a datasheet.
    machine = compute(("vector", 1e12, 5e12), ("matrix", 4e12, None))
    peak = peak_of(machine, "bf16")
    assert peak is not None and peak.unit == "vector"
    assert compute_rate(machine, "bf16") == 5e12
    assert compute_rate(compute(("vector", 4e12, None)), "bf16") == 3e12  # 75 %
    assert peak_of(compute(("vector", None, None)), "bf16") is None
    only_measured = compute(("vector", None, 2e12), ("matrix", None, None))
    assert compute_rate(only_measured, "bf16") == 2e12
