"""Bytes that come into each level, for versions whose figures can be counted by hand."""

import pytest

from tests.gemm.example_machine import machine
from topout.gemm.blocking_traffic import blocking_traffic, cache_models, level_traffic
from topout.gemm.blockings import blocking_of
from topout.gemm.case import Case
from topout.gemm.loop_nest import CacheModel

MIB = 1 << 20
TILED = {"block_i": 64, "block_j": 1024, "block_k": 64}


def levels(version: str, case: Case, constants: dict[str, int]) -> dict[str, dict[str, float]]:
    found = blocking_traffic(
        blocking_of(version, case, constants), cache_models(machine(), case.threads)
    )
    return {each.level: each.by_array for each in found}


def test_naive_at_1024() -> None:
    """A column of B falls on one set of the first cache: 1024³ lines. It stays in the second,
    64 KiB, but all of B, 4 MiB, does not: 1024 times. The third holds everything."""
    found = levels("naive", Case(1024, 1024, 1024, "fp32", 1), {})
    assert found["L1"]["B"] == 1024**3 * 64
    assert found["L2"]["B"] == 1024 * 4 * MIB
    assert found["L3"] == {"A": 4 * MIB, "B": 4 * MIB, "C": 4 * MIB}


def test_loop_order_at_1024() -> None:
    """All of B for each row of C, in whole lines; the row of C stays, and A comes once."""
    found = levels("loop_order", Case(1024, 1024, 1024, "fp32", 1), {})
    assert found["L1"] == {"A": 4 * MIB, "B": 1024 * 4 * MIB, "C": 4 * MIB}


def test_tiled_at_1024() -> None:
    """As its source says: a block of B, 256 KiB, stays in the second cache for 64 rows, so B comes
    16 times; into the first one it comes for each row, and C for each of 16 blocks of k."""
    found = levels("tiled", Case(1024, 1024, 1024, "fp32", 1), TILED)
    assert found["L2"]["B"] == 16 * 4 * MIB
    assert found["L1"]["B"] == 1024 * 4 * MIB
    assert found["L1"]["C"] == 16 * 4 * MIB


def test_two_threads_bring_b_into_caches_of_their_own_and_once_into_the_shared_one() -> None:
    one = levels("loop_order", Case(64, 512, 64, "fp32", 1), {})
    two = levels("loop_order", Case(64, 512, 64, "fp32", 2), {})
    b = 64 * 512 * 4
    assert one["L2"]["B"] == b
    assert two["L2"]["B"] == 2 * b
    assert two["L3"]["B"] == b
    assert two["L2"]["C"] == one["L2"]["C"]


def test_threads_beyond_the_rows_bring_nothing() -> None:
    one = levels("naive", Case(1, 64, 64, "fp32", 1), {})
    many = levels("naive", Case(1, 64, 64, "fp32", 8), {})
    assert one == many


def test_by_array_sums_to_the_whole() -> None:
    case = Case(100, 100, 100, "fp32", 2)
    found = blocking_traffic(blocking_of("tiled", case, TILED), cache_models(machine(), 2))
    for each in found:
        assert each.bytes == pytest.approx(sum(each.by_array.values()))
        assert each.by_array[each.largest] == max(each.by_array.values())
    records = level_traffic(found)
    assert [each.level for each in records] == ["registers", "L1", "L2", "L3"]
    assert {each.source for each in records} == {"blocking"}


def test_the_instruction_cache_is_none_of_these() -> None:
    models = cache_models(machine(l3=None), 2)
    assert list(models) == ["L1", "L2"]
    assert models["L1"] == CacheModel(32 << 10, 64, 4096, 1)


def test_an_arm_machine_has_no_known_sets() -> None:
    assert cache_models(machine(architecture="aarch64"), 1)["L1"].way_bytes is None


def test_a_shared_cache_serves_as_many_threads_as_run() -> None:
    assert cache_models(machine(), 1)["L3"].threads == 1
    assert cache_models(machine(), 8)["L3"].threads == 2
