"""Sizes to read and their levels."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from topout.machine.effort import cache_capacities, working_sets
from topout.records import Cache
from topout.roofline import level_holding

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
ZEN = [
    Cache(name="L1d", size_bytes=32 * KIB, instances=8),
    Cache(name="L1i", size_bytes=32 * KIB, instances=8),
    Cache(name="L2", size_bytes=512 * KIB, instances=8),
    Cache(name="L3", size_bytes=32 * MIB, instances=2),
]


def test_capacities_grow_with_threads_up_to_the_instances() -> None:
    assert cache_capacities(ZEN, 1) == [("L1", 32 * KIB), ("L2", 512 * KIB), ("L3", 32 * MIB)]
    assert cache_capacities(ZEN, 4) == [("L1", 128 * KIB), ("L2", 2 * MIB), ("L3", 64 * MIB)]


def test_levels() -> None:
    capacities = cache_capacities(ZEN, 1)
    assert level_holding(capacities, 16 * KIB, across_ops=False) == "L1"
    assert level_holding(capacities, 33 * KIB, across_ops=False) == "L2"
    assert level_holding(capacities, 32 * MIB, across_ops=False) == "L3"
    assert level_holding(capacities, 32 * MIB + 1, across_ops=False) is None


def test_few_points_are_the_levels_themselves() -> None:
    sets = working_sets(ZEN, 64 * GIB, threads=1, points=0)
    # Half of L1 is 16 KiB, the smallest size; the top is eight times L3.
    assert [(each.level, each.total_bytes) for each in sets] == [
        ("L1", 16 * KIB),
        ("L2", 256 * KIB),
        ("L3", 16 * MIB),
        ("DRAM", 256 * MIB),
    ]


def test_a_curve_has_points_between_the_levels() -> None:
    sets = working_sets(ZEN, 64 * GIB, threads=2, points=12)
    sizes = [each.total_bytes for each in sets]
    assert 10 <= len(sizes) <= 16
    assert (sizes[0], sizes[-1]) == (32 * KIB, 512 * MIB)
    assert max(b / a for a, b in itertools.pairwise(sizes)) < 4


def test_small_memory_and_huge_caches_bound_the_largest_set() -> None:
    assert working_sets(ZEN, 256 * MIB, 1, 12)[-1].total_bytes == 32 * MIB
    huge = [Cache(name="L3", size_bytes=768 * MIB, instances=1)]
    last = working_sets(huge, 512 * GIB, 1, 12)[-1]
    assert (last.level, last.total_bytes) == ("DRAM", 1536 * MIB)


@given(
    st.lists(
        st.builds(
            Cache,
            name=st.sampled_from(["L1d", "L1i", "L2", "L3"]),
            size_bytes=st.integers(1, 1 << 31),
            instances=st.none() | st.integers(1, 512),
        ),
        max_size=5,
    ),
    st.integers(1 << 20, 1 << 45),
    st.integers(1, 512),
    st.integers(0, 14),
)
def test_sets_are_ascending_whole_grains(
    caches: list[Cache], memory_bytes: int, threads: int, points: int
) -> None:
    sizes = [each.total_bytes for each in working_sets(caches, memory_bytes, threads, points)]
    assert sizes
    assert sizes == sorted(set(sizes))
    assert all(size > 0 and size % (4096 * threads) == 0 for size in sizes)
    assert sizes[-1] <= max(memory_bytes // 8, 16 * KIB * threads)
