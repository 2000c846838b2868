"""Ceilings that cannot be, or contradict each other; and what is measured again for it."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.example_climb import example_machine
from topout.errors import RecordError
from topout.machine.ceiling_checks import (
    check_ceilings,
    contradiction_doubts,
    contradictions,
    measure_again,
    most_allowed,
)
from topout.machine.effort import CeilingParts, Part
from topout.records import BandwidthCeiling, Ceilings, ComputeCeiling, Dtype, Gpu, Machine


def machine(*isa: str, clock_hz: float | None = None) -> Machine:
    return msgspec.structs.replace(
        example_machine(), vector_isa=list(isa), clock_max_hz=clock_hz, gpus=[]
    )


def compute(
    rate: float, dtype: Dtype = "fp32", threads: int = 1, instruction: str = "fma"
) -> ComputeCeiling:
    return ComputeCeiling(
        dtype=dtype, threads=threads, instruction=instruction, flops_per_s=rate, samples=[rate]
    )


def read(
    rate: float, level: str = "DRAM", threads: int = 1, size: int = 1 << 28
) -> BandwidthCeiling:
    return BandwidthCeiling(
        level=level,
        threads=threads,
        page="huge",
        working_set_bytes=size,
        bytes_per_s=rate,
        samples=[rate],
    )


def ceilings(
    *found: ComputeCeiling | BandwidthCeiling, clock_hz: float | None = None, device: str = "cpu"
) -> Ceilings:
    return Ceilings(
        host_key=example_machine().host_key,
        device=device,
        measured_at="2026-01-01T00:00:00+00:00",
        elapsed_s=1.0,
        quick=False,
        clock_hz=clock_hz,
        compute=[each for each in found if isinstance(each, ComputeCeiling)],
        bandwidth=[each for each in found if isinstance(each, BandwidthCeiling)],
    )


@pytest.mark.parametrize(
    ("found", "part", "threads", "words"),
    [
        # 10 % less is scatter, more is none: 0.9 × 100 = 90.
        ([read(89e9, "L1", size=1 << 14), read(100e9, "L2", size=1 << 18)], "bandwidth", 1, "L2"),
        ([read(90e9, "L1", size=1 << 14), read(100e9, "L2", size=1 << 18)], None, 0, ""),
        ([read(20e9, "L3", 2), read(30e9, "DRAM", 2)], "bandwidth", 2, "DRAM, which is farther"),
        ([compute(100e9), compute(89e9, threads=2)], "compute", 2, "100 GFLOP/s with 1 thread"),
        ([compute(100e9), compute(91e9, threads=2)], None, 0, ""),
        # Four threads are below one, though not below two.
        (
            [compute(100e9), compute(95e9, threads=2), compute(86e9, threads=4)],
            "compute",
            4,
            "100 GFLOP/s with 1 thread",
        ),
        ([read(30e9), read(20e9, threads=2)], "bandwidth", 2, "at 30.0 GB/s by 1 thread"),
        # One CPU's level is compared with its own at other counts alone.
        ([read(90e9, "L3"), read(20e9, threads=2)], None, 0, ""),
    ],
)
def test_levels_and_threads_that_contradict(
    found: list[ComputeCeiling | BandwidthCeiling], part: Part | None, threads: int, words: str
) -> None:
    told = contradictions(ceilings(*found), machine("avx2"))
    assert [(each.part, each.threads) for each in told] == ([(part, threads)] if part else [])
    assert all(words in each.sentence for each in told)


@pytest.mark.parametrize(
    ("isa", "dtype", "instruction", "is_told"),
    [
        (["avx512f", "avx512_bf16", "amx_tile", "amx_bf16"], "bf16", "torch matmul", True),
        (["avx512f", "avx512_bf16"], "bf16", "vdpbf16ps", False),  # a unit that may be no wider
        (["neon", "bf16"], "bf16", "bfmmla", True),
        (["avx2", "avx_vnni"], "int8", "vpdpbusd", True),
        (["avx2"], "int8", "vpmaddubsw", False),  # no unit of its own
        (["avx2", "avx_vnni"], "int8", "torch matmul", False),  # a lower bound
        (["neon", "dotprod"], "int8", "sdot", True),
    ],
)
def test_a_wider_unit_is_not_slower(
    isa: list[str], dtype: Dtype, instruction: str, is_told: bool
) -> None:
    found = ceilings(compute(100e9), compute(80e9, dtype, instruction=instruction))
    told = contradictions(found, machine(*isa))
    assert [each.part for each in told] == (["compute"] if is_told else [])
    as_fast = ceilings(compute(100e9), compute(95e9, dtype, instruction=instruction))
    assert contradictions(as_fast, machine(*isa)) == []


@pytest.mark.parametrize(("capability", "is_told"), [("8.0", True), ("7.5", False), (None, False)])
def test_tensor_cores_by_their_capability(capability: str | None, is_told: bool) -> None:
    gpu = Gpu(name="g", memory_bytes=1 << 34, compute_capability=capability)
    with_gpu = msgspec.structs.replace(machine(), gpus=[gpu])
    slow = compute(10e12, "bf16", instruction="cuda matmul")
    found = ceilings(compute(20e12), slow, device="cuda")
    assert bool(contradictions(found, with_gpu)) is is_told


def test_what_clock_lanes_and_units_allow() -> None:
    """1.5 × 2 GHz × two units of 512 bits: 2 × 32 multiply-adds of fp32 a cycle and thread."""
    avx512 = machine("avx2", "avx512f", "avx512_bf16", clock_hz=2e9)
    found = ceilings()
    cases: list[tuple[ComputeCeiling | BandwidthCeiling, float]] = [
        (compute(1.0), 3e9 * 64),
        (compute(1.0, threads=3), 3 * 3e9 * 64),
        (compute(1.0, "bf16"), 3e9 * 128),
        (compute(1.0, "int8"), 3e9 * 256),  # fours of bytes, without a unit of its own too
        (read(1.0, threads=2), 2 * 3e9 * 4 * 64),  # four loads of 64 bytes
    ]
    for each, most in cases:
        assert most_allowed(each, found, avx512) == pytest.approx(most)
    inferred = ceilings(clock_hz=4e9)  # the higher clock counts
    assert most_allowed(compute(1.0), inferred, avx512) == pytest.approx(6e9 * 64)
    avx2 = machine("avx2", clock_hz=2e9)
    assert most_allowed(compute(1.0), found, avx2) == pytest.approx(3e9 * 32)
    amx = machine("avx512f", "amx_tile", "amx_bf16", clock_hz=2e9)
    assert most_allowed(compute(1.0, "bf16"), found, amx) == pytest.approx(3e9 * 1024)
    for unknown in (machine("avx2"), machine(clock_hz=2e9)):
        assert most_allowed(compute(1.0), found, unknown) == math.inf
    assert most_allowed(compute(1.0), ceilings(device="cuda"), avx2) == math.inf


def test_more_than_the_clock_allows() -> None:
    avx2 = machine("avx2", clock_hz=2e9)  # 96 GFLOP/s and 384 GB/s for one thread
    (told,) = contradictions(ceilings(compute(97e9)), avx2)
    assert (
        told.sentence
        == "fp32 (fma) reaches 97.0 GFLOP/s with 1 thread, and the clock allows 96.0 GFLOP/s"
    )
    (told,) = contradictions(ceilings(read(385e9, "L1")), avx2)
    assert (told.part, "allows 384 GB/s" in told.sentence) == ("bandwidth", True)
    assert contradictions(ceilings(compute(96e9), read(384e9, "L1")), avx2) == []


def test_one_doubt_names_the_first_three() -> None:
    levels = [read(rate, f"L{n}", size=1 << 10 * n) for n, rate in ((1, 1e9), (2, 2e9), (3, 4e9))]
    found = contradictions(
        ceilings(*levels, read(8e9), compute(9e9), compute(1e9, threads=2)), machine()
    )
    assert len(found) == 4
    (doubt,) = contradiction_doubts(found)
    assert doubt.about == "contradiction"
    assert doubt.sentence.endswith("; and 1 more.")
    assert "--refresh" in doubt.remedy
    assert contradiction_doubts([]) == []


def test_the_lower_one_is_measured_again_and_the_better_figure_stands() -> None:
    calls: list[tuple[int, Part]] = []

    def measure(threads: int, part: Part) -> CeilingParts:
        calls.append((threads, part))
        again = [compute(150e9, threads=2), compute(7e9, "int8", threads=2)]
        return CeilingParts(again, [], [], [], [], {})

    first = ceilings(compute(100e9), compute(80e9, threads=2), compute(9e9, "int8", threads=2))
    found = measure_again(first, machine("avx2"), measure)
    assert calls == [(2, "compute")]
    assert [each.flops_per_s for each in found.compute] == [100e9, 150e9, 9e9]
    assert measure_again(found, machine("avx2"), measure) == found
    assert len(calls) == 1


def test_what_stays_contradictory_is_measured_twice_and_no_more() -> None:
    calls: list[Part] = []

    def measure(threads: int, part: Part) -> CeilingParts:
        calls.append(part)
        return CeilingParts([], [read(25e9, "L3")], [], [], [], {})

    found = measure_again(ceilings(read(20e9, "L3"), read(30e9)), machine("avx2"), measure)
    assert calls == ["bandwidth", "bandwidth"]
    # What is as large as main memory's set is another set than that of L3.
    assert [each.bytes_per_s for each in found.bandwidth] == [25e9, 30e9]


def test_of_a_figure_above_the_clock_the_possible_one_stands() -> None:
    avx2 = machine("avx2", clock_hz=2e9)

    def measure(threads: int, part: Part) -> CeilingParts:
        return CeilingParts([compute(60e9)], [], [], [], [], {})

    found = measure_again(ceilings(compute(4e16)), avx2, measure)
    assert [each.flops_per_s for each in found.compute] == [60e9]


def test_ceilings_that_cannot_be_are_refused() -> None:
    here = machine("avx2", clock_hz=2e9)
    good = ceilings(compute(50e9), read(20e9))
    check_ceilings(good, here, "file")
    wrong = {
        "of another host": msgspec.structs.replace(good, host_key="x"),
        r"compute\[0\].flops_per_s` is 0": ceilings(compute(0.0)),
        r"bandwidth\[0\].bytes_per_s` is -1": ceilings(read(-1.0)),
        r"compute\[0\].flops_per_s` is nan": ceilings(compute(math.nan)),
        r"bandwidth\[0\].bytes_per_s` is inf": ceilings(read(math.inf)),
        "the clock allows 96.0 GFLOP/s": ceilings(compute(4e16)),
    }
    for words, each in wrong.items():
        with pytest.raises(RecordError, match=words):
            check_ceilings(each, here, "file")


def test_the_catalog_knows_what_a_gpu_allows() -> None:
    gpu = Gpu(name="NVIDIA A100-SXM4-80GB", memory_bytes=80 << 30, compute_capability="8.0")
    with_gpu = msgspec.structs.replace(machine(), gpus=[gpu])
    good = ceilings(compute(19e12), read(1.9e12, "HBM"), device="cuda")
    check_ceilings(good, with_gpu, "file")
    # The datasheet's 19.5 TFLOP/s of fp32, and a quarter more.
    with pytest.raises(RecordError, match="times what `spec_flops_per_s` allows"):
        check_ceilings(ceilings(compute(25e12), device="cuda"), with_gpu, "file")


rising = st.lists(st.floats(1e9, 1e13), min_size=1, max_size=5).map(sorted)


@given(rising, rising)
def test_what_rises_with_threads_and_towards_the_core_contradicts_nothing(
    rates: list[float], levels: list[float]
) -> None:
    names = [f"L{len(levels) - i}" for i in range(1, len(levels))]
    curve = [read(rate, level) for rate, level in zip(levels, ["DRAM", *names], strict=True)]
    found = [compute(rate, threads=1 << i) for i, rate in enumerate(rates)]
    assert contradictions(ceilings(*found, *curve), machine("avx2")) == []


@given(
    st.lists(st.floats(1e9, 1e13), min_size=2, max_size=4),
    st.lists(st.floats(1e9, 1e13), min_size=2, max_size=4),
)
def test_measuring_again_lowers_no_figure(before: list[float], again: list[float]) -> None:
    """Without a clock nothing is above what it allows, so that the higher one stands."""

    def measure(threads: int, part: Part) -> CeilingParts:
        number = threads.bit_length() - 1
        found = [compute(again[number], threads=threads)] if number < len(again) else []
        return CeilingParts(found, [], [], [], [], {})

    first = ceilings(*(compute(rate, threads=1 << i) for i, rate in enumerate(before)))
    found = measure_again(first, machine("avx2"), measure)
    assert len(found.compute) == len(before)
    for old, new in zip(first.compute, found.compute, strict=True):
        assert new.flops_per_s >= old.flops_per_s
