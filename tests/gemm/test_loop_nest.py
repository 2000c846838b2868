"""What a nest of loops brings into a cache, counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gemm.example_machine import machine
from topout.gemm.blockings import blocking_of
from topout.gemm.case import Case
from topout.gemm.loop_nest import (
    Array,
    CacheModel,
    Loop,
    Nest,
    blocking_traffic,
    bytes_into_cache,
    cache_models,
    level_traffic,
    lines_of,
    sets_of_column,
)

KIB = 1024


def nest(m: int, n: int, k: int, order: str, arrays: list[Array] | None = None) -> Nest:
    """A, B and C of float in three plain loops."""
    loops = [Loop(variable, variable, 1) for variable in order]  # type: ignore[arg-type]
    standard = [
        Array("A", "i", "k", 4, k * 4),
        Array("B", "k", "j", 4, n * 4),
        Array("C", "i", "j", 4, n * 4),
    ]
    return Nest({"i": float(m), "j": float(n), "k": float(k)}, loops, arrays or standard)


def test_a_column_lies_on_a_line_for_each_row() -> None:
    array = Array("B", "k", "j", 4, 4096)
    assert lines_of(array, {"i": 1, "j": 1, "k": 100}, 64) == 100
    assert lines_of(array, {"i": 1, "j": 32, "k": 100}, 64) == 200


def test_rows_nearer_than_a_line_share_it() -> None:
    # 100 rows of 8 bytes: 800 bytes are 12.5 lines.
    assert lines_of(Array("B", "k", "j", 4, 8), {"i": 1, "j": 1, "k": 100}, 64) == 12.5


def test_what_fits_comes_in_once() -> None:
    """64³: 16 KiB each, 48 KiB together."""
    loops = nest(64, 64, 64, "ijk")
    for array in loops.arrays:
        assert bytes_into_cache(loops, array, CacheModel(64 * KIB)) == 16 * KIB


def test_columns_of_b_come_again_for_each_row_of_a() -> None:
    """naive at 256 × 256 × 256 and 64 KiB.

    A column of B is 256 lines, 16 KiB, and stays while 16 columns of it are used; all of B,
    256 KiB, does not stay from row to row of A: 256 · 256 KiB.
    """
    loops = nest(256, 256, 256, "ijk")
    b = loops.arrays[1]
    assert bytes_into_cache(loops, b, CacheModel(64 * KIB)) == 256 * 256 * KIB


def test_columns_that_do_not_fit_cost_a_line_for_each_element() -> None:
    """A column is 16 KiB, the cache 8 KiB: 256³ lines of 64 bytes."""
    loops = nest(256, 256, 256, "ijk")
    assert bytes_into_cache(loops, loops.arrays[1], CacheModel(8 * KIB)) == 256**3 * 64


def test_rows_an_unlucky_distance_apart_crowd_into_one_set() -> None:
    """1024 columns are 4096 bytes a row, the size of a way: a column falls on one set of 8."""
    loops = nest(16, 1024, 64, "ijk")
    roomy = CacheModel(32 * KIB, way_bytes=None)
    crowded = CacheModel(32 * KIB, way_bytes=4096)
    b = loops.arrays[1]
    assert sets_of_column(4096, crowded) == 1
    assert bytes_into_cache(loops, b, crowded) == 16 * 1024 * 64 * 64
    # Otherwise a column, 64 lines, stays for the 16 that lie beside it.
    assert bytes_into_cache(loops, b, roomy) == 16 * 1024 * 64 * 4


def test_a_buffer_that_stays_is_brought_once_however_often_it_is_filled() -> None:
    """16 blocks of k, of 16 × 64 floats: one buffer of 4 KiB."""
    buffer = Array("packed B", "k", "j", 4, filled_in="block")
    loops = Nest(
        {"i": 8.0, "j": 64.0, "k": 256.0},
        [Loop("block", "k", 16), Loop("i", "i", 1), Loop("k", "k", 1), Loop("j", "j", 1)],
        [buffer],
    )
    assert bytes_into_cache(loops, buffer, CacheModel(32 * KIB)) == 4 * KIB
    # It does not fit into 2 KiB, and comes for each of 8 rows in each of 16 blocks.
    assert bytes_into_cache(loops, buffer, CacheModel(2 * KIB)) == 4 * KIB * 8 * 16


def test_a_short_last_block_of_rows_brings_all_of_b_again() -> None:
    """65 rows in blocks of 64: B, which does not depend on rows, comes twice."""
    b = Array("B", "k", "j", 4, 4 * KIB)
    loops = Nest(
        {"i": 65.0, "j": 1024.0, "k": 16.0},
        [Loop("rows", "i", 64), Loop("k", "k", 1), Loop("j", "j", 1)],
        [b],
    )
    assert bytes_into_cache(loops, b, CacheModel(32 * KIB)) == 2 * 64 * KIB


def test_rows_inside_a_short_block_are_counted_one_by_one() -> None:
    """70 rows in blocks of 64, one by one: B, too large to stay from row to row, comes 70 times."""
    b = Array("B", "k", "j", 4, 4 * KIB)
    loops = Nest(
        {"i": 70.0, "j": 1024.0, "k": 16.0},
        [Loop("rows", "i", 64), Loop("row", "i", 1), Loop("k", "k", 1), Loop("j", "j", 1)],
        [b],
    )
    assert bytes_into_cache(loops, b, CacheModel(32 * KIB)) == 70 * 64 * KIB


def test_threads_that_share_a_cache_share_what_is_not_split() -> None:
    """Rows are split in two: of A and C both halves come, of B one copy."""
    loops = nest(32, 64, 64, "ijk")._replace(parts={"i": 2})
    a, b, c = loops.arrays
    cache = CacheModel(1 << 20, threads=2)
    assert bytes_into_cache(loops, a, cache) == 2 * 32 * 64 * 4
    assert bytes_into_cache(loops, b, cache) == 64 * 64 * 4
    assert bytes_into_cache(loops, c, cache) == 2 * 32 * 64 * 4


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from(["ijk", "ikj", "jki", "kij"]),
    st.integers(9, 24),
)
def test_never_less_than_once_and_never_more_than_a_line_for_each_access(
    m: int, n: int, k: int, order: str, log_size: int
) -> None:
    loops = nest(m, n, k, order)
    for array in loops.arrays:
        moved = bytes_into_cache(loops, array, CacheModel(1 << log_size))
        elements = loops.extents[array.rows] * loops.extents[array.columns]
        assert elements * 4 * 0.999 <= moved
        assert moved <= 64 * m * n * k * 1.001


@given(st.integers(1, 128), st.integers(1, 128), st.integers(1, 128), st.integers(9, 20))
def test_a_larger_cache_never_brings_more(m: int, n: int, k: int, log_size: int) -> None:
    loops = nest(m, n, k, "ijk")
    for array in loops.arrays:
        small = bytes_into_cache(loops, array, CacheModel(1 << log_size))
        large = bytes_into_cache(loops, array, CacheModel(4 << log_size))
        assert large <= small * 1.001


def test_a_cache_without_sets_puts_lines_anywhere() -> None:
    assert sets_of_column(4096, CacheModel(32 * KIB)) == 512
    assert CacheModel(32 * KIB, way_bytes=4096).ways == 8
    assert pytest.approx(1) == CacheModel(32 * KIB).ways


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
