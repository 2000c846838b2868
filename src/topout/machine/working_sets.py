"""Which sizes of memory are read to find the bandwidth of every level, and what level each is."""

from typing import NamedTuple

from topout.records import Cache
from topout.roofline import level_holding

_SMALLEST_BYTES = 16 << 10  # of one thread
_LARGEST_BYTES = 1 << 30
_LEAST_DRAM_BYTES = 64 << 20
_GRAIN_BYTES = 4096
# Where the kernel shows no caches: what most CPUs of the last decade have at least.
_ASSUMED = [
    Cache(name="L1d", size_bytes=32 << 10),
    Cache(name="L2", size_bytes=512 << 10),
    Cache(name="L3", size_bytes=32 << 20, instances=1),
]


class WorkingSet(NamedTuple):
    """Memory read over and over by all threads together, and the level that it should sit in."""

    level: str
    total_bytes: int


def cache_capacities(caches: list[Cache], threads: int) -> list[tuple[str, int]]:
    """(level, bytes that `threads` threads on cores of their own can fill), smallest first.

    A cache without a count of instances is taken to be each core's own.
    """
    shown = [cache for cache in caches if not cache.name.endswith("i")] or _ASSUMED
    return sorted(
        (
            (
                cache.name.removesuffix("d"),
                cache.size_bytes * min(cache.instances or threads, threads),
            )
            for cache in shown
        ),
        key=lambda capacity: capacity[1],
    )


def working_sets(
    caches: list[Cache], memory_bytes: int, threads: int, points: int
) -> list[WorkingSet]:
    """Sizes for `threads` threads, ascending: half of every cache, and up to `points` in between.

    They reach from 16 KiB a thread to eight times the last cache, at most 1 GiB or an eighth of
    memory.
    """
    capacities = cache_capacities(caches, threads)
    last = capacities[-1][1]
    top = min(max(8 * last, _LEAST_DRAM_BYTES), max(_LARGEST_BYTES, 2 * last), memory_bytes // 8)
    bottom = _SMALLEST_BYTES * threads
    top = max(top, bottom)
    anchors = [capacity // 2 for _, capacity in capacities] + [bottom, top]
    ratio = (top / bottom) ** (1 / max(1, points - 1))
    grid = [round(bottom * ratio**i) for i in range(points)] if points > 1 else []
    sizes = sorted(size for size in anchors if bottom <= size <= top)
    for size in grid:
        # A point next to one that is there already teaches nothing.
        if all(not 1 / 1.3 < size / other < 1.3 for other in sizes):
            sizes.append(size)
    grain = _GRAIN_BYTES * threads
    whole = sorted({max(grain, size // grain * grain) for size in sizes})
    return [
        WorkingSet(level_holding(capacities, size, across_ops=False) or "DRAM", size)
        for size in whole
    ]
