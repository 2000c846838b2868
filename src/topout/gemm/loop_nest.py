"""Bytes that a nest of loops brings into a cache, by where its working sets fit.

The rule is the layer condition (Rivera and Tseng, "Tiling optimizations for 3D scientific
computations", SC 2000; Stengel et al., "Quantifying performance bottlenecks of stencil
computations using the ECM model", ICS 2015): what one turn of a loop touches is still there in
the next turn if all that a turn touches fits in the cache. A cache is taken to forget what was
used longest ago, and to have no conflicts except where `CacheModel.way_bytes` is given; for those
that any cache has, a part of it stays out of account.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from topout.records.gemm import LevelTraffic
from topout.records.machine import Cache, Machine

Variable = Literal["i", "j", "k"]  # a row of A and C, a column of B and C, what is summed over
Extents = dict[Variable, float]
# Sets fill unevenly, and what is on its way out is still there: working sets of 88 % of a cache
# were seen to be lost in a simulated one of 8 to 12 ways, those of 76 % to be kept.
_USABLE = 0.85
_LINE_BYTES = 64
# Of the first level on x86: 64 sets of 64 bytes, so that it can use virtual addresses.
_X86_WAY_BYTES = 4096
_NAMES = {"L1d": "L1", "L2": "L2", "L3": "L3"}


class Loop(NamedTuple):
    """One loop: a turn of it covers `step` values of `variable`."""

    name: str
    variable: Variable
    step: float


class Array(NamedTuple):
    """A matrix, or the buffer that a part of one is copied into.

    `stride_bytes`: from row to row; None where rows follow each other. A buffer is filled again
    in every turn of the loop `filled_in` and of those around it, always in the same place.
    """

    name: str
    rows: Variable
    columns: Variable
    element_bytes: float
    stride_bytes: int | None = None
    filled_in: str | None = None


class CacheModel(NamedTuple):
    """What is kept: `size_bytes` in lines of `line_bytes`, for `threads` that share it.

    `way_bytes`: addresses so far apart share a set; None: any line goes anywhere.
    """

    size_bytes: float
    line_bytes: int = 64
    way_bytes: int | None = None
    threads: int = 1

    @property
    def ways(self) -> int:
        """How many lines one set holds."""
        return max(1, int(self.size_bytes // self.way_bytes)) if self.way_bytes else 1


class Nest(NamedTuple):
    """Loops of one thread, from the outermost to the innermost, and the arrays they touch.

    `extents` are those of one thread; `parts` says into how many parts a variable is split among
    the threads (1 where it is not named).
    """

    extents: Extents
    loops: Sequence[Loop]
    arrays: Sequence[Array]
    parts: Mapping[Variable, int] = {}

    def inside(self, depth: int) -> Extents:
        """The values of each variable that one turn of loop `depth` − 1 runs through."""
        extents = dict(self.extents)
        for loop in self.loops[:depth]:
            extents[loop.variable] = min(extents[loop.variable], loop.step)
        return extents

    def part_inside(self, array: Array, depth: int) -> Extents:
        """What one turn of loop `depth` − 1 touches of `array`; of a buffer, what it holds."""
        return self.inside(max(depth, self.filled(array) + 1))

    def filled(self, array: Array) -> int:
        """The loop in which a buffer is filled; −1 for a matrix."""
        names = [loop.name for loop in self.loops]
        return names.index(array.filled_in) if array.filled_in else -1

    def turns(self, depth: int) -> float:
        """How often loop `depth` turns; a last, shorter turn counts for its share."""
        loop = self.loops[depth]
        return max(1.0, self.inside(depth)[loop.variable] / loop.step)

    def copies(self, array: Array, threads: int) -> int:
        """How many different parts of `array` so many of the threads work on."""
        return min(threads, self.parts.get(array.rows, 1) * self.parts.get(array.columns, 1))


def lines_of(array: Array, extents: Extents, line_bytes: int) -> float:
    """Cache lines that a part of an array lies on."""
    rows, columns = extents[array.rows], extents[array.columns]
    row_bytes = columns * array.element_bytes
    if array.stride_bytes is None:
        return max(1.0, rows * row_bytes / line_bytes)
    # Rows nearer to each other than a line share lines.
    apart = min(1.0, array.stride_bytes / line_bytes)
    return max(1.0, rows * max(apart, row_bytes / line_bytes))


def bytes_into_cache(nest: Nest, array: Array, cache: CacheModel) -> float:
    """Bytes of `array` that the nest brings into one cache, which is empty when it begins."""
    lines = _lines_brought(nest, array, cache.line_bytes, _fitting(nest, cache))
    return cache.line_bytes * lines * nest.copies(array, cache.threads)


def working_set_lines(nest: Nest, depth: int, cache: CacheModel) -> float:
    """Lines that the threads of a cache touch together in one turn of loop `depth` − 1."""
    return sum(
        lines_of(array, nest.part_inside(array, depth), cache.line_bytes)
        * nest.copies(array, cache.threads)
        for array in nest.arrays
    )


def _fitting(nest: Nest, cache: CacheModel) -> set[int]:
    """The loops of which one turn fits in the cache."""
    held = set()
    for depth in range(len(nest.loops)):
        crowded = any(
            _conflicts(array, nest.part_inside(array, depth + 1), cache) for array in nest.arrays
        )
        lines = working_set_lines(nest, depth + 1, cache)
        if lines * cache.line_bytes <= cache.size_bytes * _USABLE and not crowded:
            held.add(depth)
    return held


def _conflicts(array: Array, extents: Extents, cache: CacheModel) -> bool:
    """Whether rows at an unlucky distance crowd into a few sets that cannot hold them."""
    if cache.way_bytes is None or array.stride_bytes is None:
        return False
    lines = max(1, math.ceil(extents[array.columns] * array.element_bytes / cache.line_bytes))
    places = sets_of_column(array.stride_bytes, cache)
    sets = min(cache.way_bytes // cache.line_bytes, places * lines)
    return extents[array.rows] * lines > sets * cache.ways


def sets_of_column(stride_bytes: int, cache: CacheModel) -> int:
    """On how many sets of the cache a column falls whose rows are so many bytes apart."""
    if cache.way_bytes is None:
        return int(cache.size_bytes // cache.line_bytes)
    step = math.gcd(stride_bytes, cache.way_bytes)
    return cache.way_bytes // max(step, cache.line_bytes)


def _lines_brought(nest: Nest, array: Array, line_bytes: int, held: set[int]) -> float:
    """From the innermost loop outward: a loop that is held brings each line of its span once."""
    brought = 1.0
    filled = nest.filled(array)
    repeated: set[Variable] = set()  # variables over which all is brought again, further in
    for depth in range(len(nest.loops) - 1, -1, -1):
        variable = nest.loops[depth].variable
        of_array = variable in (array.rows, array.columns)
        if depth not in held:
            # A last, shorter turn brings less of what it walks along, and has fewer turns inside;
            # where it has none of its variable, it brings all of the rest.
            exact = of_array or variable in repeated
            brought *= nest.turns(depth) if exact else math.ceil(nest.turns(depth))
            repeated.add(variable)
        elif of_array and depth > filled:
            # Everything further in is held as well: what a turn touches includes it.
            brought = lines_of(array, nest.inside(depth), line_bytes)
    return brought


class Blocking(NamedTuple):
    """How a version walks the matrices on `threads` threads.

    `register_bytes`: what all threads together load into registers, by array; a value that is
    copied to all lanes of a vector counts once. `tile_rows`: of C in registers, where there
    are as many (0: no tile).
    """

    nests: list[Nest]
    register_bytes: Mapping[str, float]
    threads: int
    tile_rows: int = 0


class ModelledTraffic(NamedTuple):
    """Bytes that come into one level, of all threads together: in all, and by array."""

    level: str
    bytes: float
    by_array: dict[str, float]

    @property
    def largest(self) -> str:
        """The array that most of the bytes belong to."""
        return max(self.by_array, key=lambda name: self.by_array[name])


def blocking_traffic(blocking: Blocking, caches: Mapping[str, CacheModel]) -> list[ModelledTraffic]:
    """What comes into the registers, then into each of `caches` ("L1", "L2", …), nearest first.

    Each cache is empty at the beginning of each of the version's nests, so what a nest needs comes
    in at least once; what is written comes in as well, before it is written (write-allocate).
    Lines that are fetched ahead and not used are not counted, nor what is written back.
    """
    found = [_sum("registers", blocking.register_bytes)]
    for level, cache in caches.items():
        by_array: dict[str, float] = {}
        for nest in blocking.nests:
            caches_used = math.ceil(math.prod(nest.parts.values()) / cache.threads)
            for array in nest.arrays:
                brought = bytes_into_cache(nest, array, cache) * caches_used
                by_array[array.name] = by_array.get(array.name, 0.0) + brought
        found.append(_sum(level, by_array))
    return found


def _sum(level: str, by_array: Mapping[str, float]) -> ModelledTraffic:
    return ModelledTraffic(level, sum(by_array.values()), dict(by_array))


def cache_models(machine: Machine, threads: int) -> dict[str, CacheModel]:
    """The data caches of a machine as the model sees them, nearest first; others are left out.

    A cache that several cores share serves as many of the threads as there are cores to it.
    """
    return {
        _NAMES[cache.name]: _model(cache, machine, threads)
        for cache in machine.caches
        if cache.name in _NAMES and cache.size_bytes > 0
    }


def _model(cache: Cache, machine: Machine, threads: int) -> CacheModel:
    cores = (cache.shared_by_cpus or 1) // (machine.threads_per_core or 1)
    x86 = machine.architecture in ("x86_64", "AMD64")
    first = cache.name == "L1d" and x86 and cache.size_bytes % _X86_WAY_BYTES == 0
    return CacheModel(
        size_bytes=cache.size_bytes,
        line_bytes=cache.line_bytes or _LINE_BYTES,
        way_bytes=_X86_WAY_BYTES if first else None,
        threads=max(1, min(cores, threads)),
    )


def level_traffic(traffic: list[ModelledTraffic]) -> list[LevelTraffic]:
    """The same as records."""
    return [LevelTraffic(level=each.level, bytes=each.bytes, source="blocking") for each in traffic]
