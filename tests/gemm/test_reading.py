"""The sentences: each figure in them, and which are said when."""

import pytest

from tests.gemm.test_limits import ceilings, loop, traffic
from topout.gemm.blocking_traffic import ModelledTraffic
from topout.gemm.blockings import Blocking
from topout.gemm.cachegrind import CacheEvents, Simulation
from topout.gemm.case import Case
from topout.gemm.limits import time_limits
from topout.gemm.reading import (
    event_sentences,
    limit_sentences,
    loop_sentences,
    simulation_sentences,
    traffic_sentences,
)
from topout.records.gemm import LevelTraffic

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
