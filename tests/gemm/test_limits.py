"""What a loop and the bytes of a version allow, counted by hand."""

import pytest

from topout.gemm.blocking_traffic import ModelledTraffic
from topout.gemm.case import Case
from topout.gemm.instruction_mix import MainLoop
from topout.gemm.limits import loop_pace, time_limits
from topout.records.gemm import InstructionMix
from topout.records.machine import BandwidthCeiling, Ceilings, ComputeCeiling


def loop(
    multiply_adds: int = 24,
    loads: int = 10,
    stores: int = 0,
    others: int = 4,
    *,
    bits: int = 512,
    sums: int = 24,
    chained: float = 1.0,
    fused: int | None = None,
    arithmetic: int | None = None,
    spilled: int = 0,
) -> MainLoop:
    instructions = multiply_adds + loads + stores + others
    lanes = max(1, bits // 32)
    return MainLoop(
        mix=InstructionMix(
            function="tile",
            multiply_adds=multiply_adds,
            loads=loads,
            stores=stores,
            others=others,
            vector_bits=bits,
            stack_references=spilled,
            per_multiply_add=instructions / multiply_adds,
        ),
        instructions=instructions,
        multiply_adds=multiply_adds * lanes,
        sums_in_registers=sums,
        chained=chained,
        fused=multiply_adds if fused is None else fused,
        arithmetic=multiply_adds if arithmetic is None else arithmetic,
    )


def ceilings(clock_hz: float | None = 4e9) -> Ceilings:
    """100 GFLOP/s; 1000 GB/s from L1, 500 from L2, 100 from L3, 20 from memory, on 2 threads."""
    rates = {"L1": 1000e9, "L2": 500e9, "L3": 100e9, "DRAM": 20e9}
    return Ceilings(
        host_key="0123456789abcdef",
        device="cpu",
        measured_at="2026-01-01T00:00:00Z",
        elapsed_s=1.0,
        quick=True,
        clock_hz=clock_hz,
        compute=[
            ComputeCeiling(
                dtype="fp32", threads=t, instruction="fma", flops_per_s=50e9 * t, samples=[1.0]
            )
            for t in (1, 2)
        ],
        bandwidth=[
            BandwidthCeiling(
                level=level,
                threads=2,
                page=page,
                working_set_bytes=1,
                bytes_per_s=rate * share,
                samples=[1.0],
            )
            for level, rate in rates.items()
            for page, share in (("huge", 1.0), ("4 KiB", 0.5))
        ],
    )


def traffic(**into: float) -> list[ModelledTraffic]:
    return [ModelledTraffic(level, count, {"B": count}) for level, count in into.items()]


def test_a_tile_is_limited_by_its_multiply_adds() -> None:
    pace = loop_pace(loop())
    assert (pace.limit, pace.of_peak) == ("multiply-adds", 1.0)
    assert pace.cycles["loads"] == 5


def test_one_sum_waits_for_itself() -> None:
    """Two fused to one sum: 8 cycles a turn, in which a core could do 16."""
    pace = loop_pace(loop(2, 3, 0, 5, bits=32, sums=1, chained=2.0))
    assert (pace.limit, pace.of_peak) == ("latency", 1 / 8)


def test_additions_wait_less() -> None:
    """Four plain additions to one sum: 8 cycles for four multiply-adds, which need 2."""
    pace = loop_pace(loop(4, 5, 0, 12, bits=32, sums=1, chained=4.0, fused=0, arithmetic=5))
    assert (pace.limit, pace.of_peak) == ("latency", 0.25)


def test_loads_and_stores_limit() -> None:
    assert loop_pace(loop(1, 4, 0, 1, sums=0, chained=0)).of_peak == 0.25
    stored = loop_pace(loop(2, 2, 2, 1, sums=0, chained=0))
    assert (stored.limit, stored.of_peak) == ("stores", 0.5)


def test_instructions_limit() -> None:
    pace = loop_pace(loop(1, 0, 0, 11, sums=0, chained=0))
    assert (pace.limit, pace.of_peak) == ("instructions", 0.25)


def test_products_and_sums_apart_take_twice_as_long() -> None:
    pace = loop_pace(loop(8, 4, 0, 0, sums=8, fused=0, arithmetic=16))
    assert (pace.limit, pace.of_peak) == ("multiply-adds", 0.5)


def test_times_by_the_ceilings() -> None:
    """2·100³ = 2 MFLOP at 100 GFLOP/s are 20 µs; 10 MB from memory at 20 GB/s are 500 µs."""
    case = Case(100, 100, 100, "fp32", 2)
    moved = traffic(registers=1e6, L1=1e6, L2=1e6, L3=10e6)
    limits = time_limits(case, moved, loop(), ceilings())
    times = {limit.name: limit.time_s for limit in limits}
    assert times == pytest.approx(
        {"arithmetic": 20e-6, "L1": 1e-6, "L2": 2e-6, "L3": 10e-6, "DRAM": 500e-6}
    )
    assert limits[0].name == "DRAM"


def test_a_slow_loop_is_a_limit_of_its_own() -> None:
    """10⁶ products, 2 a turn of 8 cycles, on 2 cores of 4 GHz: 500 µs."""
    case = Case(100, 100, 100, "fp32", 2)
    scalar = loop(2, 3, 0, 5, bits=32, sums=1, chained=2.0)
    limits = time_limits(case, traffic(registers=8e6), scalar, ceilings())
    assert limits[0].name == "loop"
    assert limits[0].time_s == pytest.approx(500e-6)
    assert "L1" not in {limit.name for limit in limits}  # single values, not vectors
    without = time_limits(case, traffic(registers=8e6), scalar, ceilings(clock_hz=None))
    assert {limit.name for limit in without} == {"arithmetic"}


def test_ceilings_of_the_nearest_lower_thread_count() -> None:
    case = Case(100, 100, 100, "fp32", 8)
    assert time_limits(case, [], None, ceilings())[0].rate == 100e9
    single = Case(100, 100, 100, "fp32", 1)
    found = time_limits(single, traffic(L3=1.0), None, ceilings())
    assert {limit.name for limit in found} == {"arithmetic"}  # bandwidth of 1 is not known


def test_a_type_that_was_not_measured_has_no_arithmetic_limit() -> None:
    assert time_limits(Case(8, 8, 8, "int8", 2), [], None, ceilings()) == []
