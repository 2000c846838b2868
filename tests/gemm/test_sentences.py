"""The sentences: each figure in them, and which are said when."""

import pytest

from topout.gemm.cachegrind import CacheEvents, Simulation
from topout.gemm.case import Case
from topout.gemm.instruction_mix import MainLoop
from topout.gemm.loop_nest import Blocking, ModelledTraffic
from topout.gemm.sentences import (
    event_sentences,
    limit_sentences,
    loop_pace,
    loop_sentences,
    simulation_sentences,
    time_limits,
    traffic_sentences,
)
from topout.records.gemm import InstructionMix, LevelTraffic
from topout.records.machine import BandwidthCeiling, Ceilings, ComputeCeiling

CASE = Case(100, 100, 100, "fp32", 2)


def test_traffic_in_bytes_and_intensity() -> None:
    """2 MFLOP: 20 FLOP/byte for 100 kB, 0.2 for 10 MB. A, B and C are 120 kB."""
    said = traffic_sentences(CASE, traffic(registers=8e6, L1=10e6, L2=100e3))
    assert "100 kB into L2 (20.0 FLOP/byte)" in said[0]
    assert "10.0 MB into L1 (0.200 FLOP/byte)" in said[0]
    assert "8.00 MB into the registers" in said[0]
    assert any("into L1, nearly all is B" in sentence for sentence in said)


def test_what_comes_more_than_once_is_said() -> None:
    assert any("2.0 times" in s for s in traffic_sentences(CASE, traffic(L3=240e3)))
    assert not any("times" in s for s in traffic_sentences(CASE, traffic(L3=120e3)))


def test_no_array_is_named_that_is_not_most() -> None:
    mixed = [ModelledTraffic("L1", 100.0, {"A": 40.0, "B": 35.0, "C": 25.0})]
    assert len(traffic_sentences(CASE, mixed)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "2.4 times as much"),
        ({"multiply_adds": 1, "loads": 4, "others": 1, "sums": 0}, "25 %"),
        ({"multiply_adds": 2, "loads": 2, "stores": 2, "sums": 0}, "stores one vector a cycle"),
        ({"multiply_adds": 1, "loads": 0, "others": 11, "sums": 0}, "six instructions a cycle"),
        (
            {"fused": 0, "arithmetic": 48},
            "instructions of their own: the loop reaches at best 50 %",
        ),
    ],
)
def test_what_limits_a_loop(arguments: dict[str, int], words: str) -> None:
    if arguments.get("sums") == 0:
        arguments = {**arguments, "chained": 0}
    said = loop_sentences(CASE, loop(**arguments), None)  # type: ignore[arg-type]
    assert words in said[-1]


def test_a_scalar_loop_with_one_sum() -> None:
    scalar = loop(1, 2, 1, 3, bits=32, sums=1, chained=1.0)
    said = loop_sentences(CASE, scalar, None)
    assert "1 multiply-add of a single value, 2 loads, 1 store and 3 other" in said[0]
    assert "a single sum" in said[-1]
    assert "12 %" in said[-1]


def test_spills_and_small_tiles_are_said() -> None:
    blocking = Blocking([], {}, 1, tile_rows=6)
    few = Case(1, 64, 64, "fp32", 1)
    assert "6 rows; for 1 a smaller one runs" in loop_sentences(few, loop(), blocking)[-1]
    said = " ".join(loop_sentences(CASE, loop(spilled=3), blocking))
    assert "3 of its loads and stores" in said
    assert "smaller" not in " ".join(loop_sentences(CASE, loop(), blocking))


def test_limits_and_what_was_measured() -> None:
    limits = time_limits(CASE, traffic(L3=10e6), loop(), ceilings())
    said = limit_sentences(CASE, limits, 1e-3)
    assert "reading from memory takes the longest, 500 µs (4.00 GFLOP/s)" in said[0]
    assert "the arithmetic 20.0 µs" in said[0]
    assert "50 %" in said[1]
    assert "less than that" in limit_sentences(CASE, limits, 1e-4)[1]
    assert len(limit_sentences(CASE, limits, None)) == 1
    assert limit_sentences(CASE, [], 1.0) == []


def test_a_reduced_simulation_says_so() -> None:
    small = Case(24, 100, 100, "fp32", 1)
    found = [LevelTraffic(level="L1", bytes=5e6, source="cachegrind")]
    simulation = Simulation(small, CacheEvents(1, 1, 1, 1), {}, found)
    (said,) = simulation_sentences(CASE, simulation, traffic(L1=4e6))
    assert "at 24x100x100, 100x100x100 being too much" in said
    assert "5.00 MB into L1 (by its blocks 4.00 MB)" in said
    whole = Simulation(CASE, CacheEvents(1, 1, 1, 1), {}, found)
    assert "too much" not in simulation_sentences(CASE, whole, [])[0]
    excess = simulation_sentences(CASE, whole, traffic(L1=1e6))
    assert "more than the blocks explain" in excess[1]


def test_events() -> None:
    said = event_sentences(
        {"cycles": 1e9, "instructions": 3e9, "l1d_loads": 1e6, "l1d_load_misses": 1e4}
    )
    assert "3.00 a cycle" in said[0]
    assert "1.0 % missed" in said[1]
    assert event_sentences({}) == []


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
