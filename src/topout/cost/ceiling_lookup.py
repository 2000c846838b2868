"""The measured ceiling that holds for a given working set, data type and thread count."""

import itertools
import math
from collections.abc import Iterable, Sequence

from topout.errors import InputError
from topout.records import BandwidthCeiling, Ceilings, Dtype


def bandwidth_at(ceilings: Ceilings, working_set_bytes: float, threads: int) -> float:
    """Bytes per second at which `threads` threads read a set of so many bytes, all together.

    Between measured sizes it is interpolated on log-log axes along the best measured curve (the
    better page size where several were measured); below the smallest and above the largest size
    the nearest holds. For a thread count that was not measured the next lower one stands in, else
    the lowest. Raises InputError when no bandwidth was measured.
    """
    measured = _nearest_threads((each.threads for each in ceilings.bandwidth), threads)
    if measured is None:
        raise InputError(
            "these ceilings hold no bandwidth.", "Measure them again: `topout machine --refresh`."
        )
    points = _best_curve([each for each in ceilings.bandwidth if each.threads == measured])
    return _interpolate(points, max(1.0, working_set_bytes))


def compute_at(ceilings: Ceilings, dtype: Dtype, threads: int) -> float | None:
    """The best FLOP/s (int8: OP/s) of `dtype` at `threads` threads.

    For a thread count that was not measured the next lower one stands in, else the lowest; None
    when the data type was not measured at all.
    """
    rates = [each for each in ceilings.compute if each.dtype == dtype]
    measured = _nearest_threads((each.threads for each in rates), threads)
    return max((each.flops_per_s for each in rates if each.threads == measured), default=None)


def level_bandwidth(ceilings: Ceilings, level: str, threads: int) -> float | None:
    """The bandwidth that stands for a level: caches the best, memory that of the largest set.

    Sets little larger than the last cache are served by it in part. None when it was not measured
    at exactly this thread count.
    """
    found = [each for each in ceilings.bandwidth if each.level == level and each.threads == threads]
    if level in ("DRAM", "HBM") and found:
        largest = max(each.working_set_bytes for each in found)
        found = [each for each in found if each.working_set_bytes == largest]
    return max((each.bytes_per_s for each in found), default=None)


def _nearest_threads(measured: Iterable[int], threads: int) -> int | None:
    """The largest measured count that is not above `threads`, else the smallest."""
    counts = set(measured)
    return max((n for n in counts if n <= threads), default=min(counts, default=None))


def _best_curve(bandwidths: Sequence[BandwidthCeiling]) -> list[tuple[float, float]]:
    """(bytes, bytes per second), the best of each size, ascending by size."""
    best: dict[int, float] = {}
    for each in bandwidths:
        size = each.working_set_bytes
        best[size] = max(best.get(size, 0.0), each.bytes_per_s)
    return [(float(size), best[size]) for size in sorted(best)]


def _interpolate(points: list[tuple[float, float]], size: float) -> float:
    """The curve at `size`, straight between its points on log-log axes, level beyond its ends."""
    if size <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in itertools.pairwise(points):
        if size <= right:
            share = (math.log(size) - math.log(left)) / (math.log(right) - math.log(left))
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return points[-1][1]
