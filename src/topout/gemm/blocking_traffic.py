"""Bytes that come into registers and caches in one product, from the version's blocking."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from topout.gemm.blockings import Blocking
from topout.gemm.loop_nest import CacheModel, bytes_into_cache
from topout.records.gemm import LevelTraffic
from topout.records.machine import Cache, Machine

_LINE_BYTES = 64
_X86_WAY_BYTES = (
    4096  # of the first level: 64 sets of 64 bytes, so that it can use virtual addresses
)
_NAMES = {"L1d": "L1", "L2": "L2", "L3": "L3"}


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
