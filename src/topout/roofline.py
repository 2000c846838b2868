"""Cost × ceilings × measurement → placement: where a piece of work stands under the roofline.

First which measured ceiling holds for a working set, a data type and a thread count; then the model
of Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (CACM 2009):
a roof of bandwidth that rises with arithmetic intensity, a flat roof of arithmetic, and the ridge
point where they meet.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

import msgspec

from topout import units
from topout.errors import InputError
from topout.records import BandwidthCeiling, Ceilings, ComputeCeiling, Doubt, Dtype, Record

Region = Literal[
    "memory-bound",
    "compute-bound",
    "poor",
    "above the bandwidth roof",
    "above the compute roof",
]
RoofBound = Literal["memory", "compute"]
_Measured = TypeVar("_Measured", ComputeCeiling, BandwidthCeiling)

MAIN_MEMORY = ("DRAM", "HBM")  # as ceilings name it
# Ceilings and runs are both measurements: a point this little above a roof is on it.
ROOF_TOLERANCE = 0.02
ABOVE_A_CEILING = "above a ceiling"  # what doubts are about
# Under this share of the attainable rate neither roof explains the time.
POOR_BELOW = 0.5


def ceilings_at(ceilings: Ceilings, threads: int | None = None) -> Ceilings:
    """The ceilings that hold for `threads` threads; None: for the most that were measured.

    Those of a count that was not measured are those of the largest one below it, for each data type
    and for bandwidth. None stands in from above: more threads reach what fewer cannot.
    """
    peaks: list[ComputeCeiling] = []
    for dtype in dict.fromkeys(each.dtype for each in ceilings.compute):
        peaks += _at([each for each in ceilings.compute if each.dtype == dtype], threads)
    return msgspec.structs.replace(
        ceilings, compute=peaks, bandwidth=_at(ceilings.bandwidth, threads)
    )


def stand_in_doubts(ceilings: Ceilings, threads: int) -> list[Doubt]:
    """A doubt where ceilings of fewer threads stand in for those of `threads`; a GPU has none."""
    measured = {each.threads for each in ceilings.compute}
    measured |= {each.threads for each in ceilings.bandwidth}
    if ceilings.device != "cpu" or threads in measured:
        return []
    fewer = max((count for count in measured if count < threads), default=None)
    sentence = f"No ceiling of {threads} threads or fewer was measured."
    if fewer is not None:
        plural = "" if fewer == 1 else "s"
        sentence = f"The ceilings are those of {fewer} thread{plural}: {threads} were not measured."
    remedy = "Run on a power of two of threads, or on all of them: their ceilings are measured."
    return [Doubt(about="ceilings", sentence=sentence, remedy=remedy)]


def is_above(share: float | None) -> bool:
    """Whether something was measured above its ceiling, which is then too low to judge it by."""
    return share is not None and share > 1 + ROOF_TOLERANCE


def share_of(share: float | None, digits: int = 0) -> str:
    """A share of a ceiling as every report shows it: "53 %"; ">100 %" above the ceiling."""
    return ">100 %" if is_above(share) else units.percent(share, digits)


class Exceeded(NamedTuple):
    """What was measured above a ceiling, and by how much: both in FLOP/s, or in bytes/s."""

    what: str  # "decode of bf16"
    kind: Literal["arithmetic", "bandwidth"]
    reached: float
    share: float


def exceeded_doubts(found: Sequence[Exceeded]) -> list[Doubt]:
    """A doubt for each kind of ceiling that was exceeded, of the worst one, with both figures."""
    doubts: list[Doubt] = []
    for kind, rate in (("arithmetic", units.flops_per_s), ("bandwidth", units.bytes_per_s)):
        of_kind = [each for each in found if each.kind == kind and is_above(each.share)]
        if not of_kind:
            continue
        worst = max(of_kind, key=lambda each: each.share)
        others = f", and {len(of_kind) - 1} more above theirs" if len(of_kind) > 1 else ""
        sentence = (
            f"{worst.what[0].upper()}{worst.what[1:]} reaches {rate(worst.reached)}, above the "
            f"{kind} ceiling of {rate(worst.reached / worst.share)}{others}: "
            "the ceiling was measured too low."
        )
        remedy = "Measure it again on a quiet machine (`topout machine --refresh`)."
        doubts.append(Doubt(about=ABOVE_A_CEILING, sentence=sentence, remedy=remedy))
    return doubts


def bandwidth_at(ceilings: Ceilings, working_set_bytes: float, threads: int) -> float:
    """Bytes per second at which `threads` threads read a set of so many bytes, all together.

    Between measured sizes it is interpolated on log-log axes along the best measured curve (the
    better page size where several were measured); below the smallest and above the largest size
    the nearest holds. Raises InputError when no bandwidth was measured of so many threads or fewer.
    """
    measured = _at(ceilings.bandwidth, threads)
    if not measured:
        raise InputError(
            f"these ceilings hold no bandwidth of {threads} threads or fewer.",
            "Measure them again: `topout machine --refresh`.",
        )
    return _interpolate(_best_curve(measured), max(1.0, working_set_bytes))


def compute_at(ceilings: Ceilings, dtype: Dtype, threads: int | None = None) -> float | None:
    """The best FLOP/s (int8: OP/s) of `dtype` at `threads` threads, as `ceilings_at` has it.

    None when the data type was not measured at so many threads or fewer.
    """
    rates = _at([each for each in ceilings.compute if each.dtype == dtype], threads)
    return max((each.flops_per_s for each in rates), default=None)


def level_ceiling(
    ceilings: Ceilings, level: str, threads: int | None = None
) -> BandwidthCeiling | None:
    """The bandwidth that stands for a level: caches the best, memory that of the largest set.

    Sets little larger than the last cache are served by it in part. None when none of its sets
    was read at the count of threads that `ceilings_at` takes.
    """
    found = [each for each in _at(ceilings.bandwidth, threads) if each.level == level]
    if level in MAIN_MEMORY and found:
        largest = max(each.working_set_bytes for each in found)
        found = [each for each in found if each.working_set_bytes == largest]
    return max(found, key=lambda each: each.bytes_per_s, default=None)


def level_holding(
    capacities: Iterable[tuple[str, int | None]], working_set_bytes: float, *, across_ops: bool
) -> str | None:
    """The nearest memory level that holds a working set, by the levels' names and bytes.

    `capacities` go from the nearest level on; those that are not known (None) hold nothing. Data
    that stay from op to op (`across_ops`) are looked for beyond the first-level caches: the next op
    hands its parts to other cores. None: beyond the last, so main memory.
    """
    for level, capacity_bytes in capacities:
        if across_ops and level.startswith("L1"):
            continue
        if capacity_bytes is not None and working_set_bytes <= capacity_bytes:
            return level
    return None


def _at(measured: Sequence[_Measured], threads: int | None) -> list[_Measured]:
    """Those of the largest thread count that is not above `threads`; of the most without one."""
    counts = {each.threads for each in measured if threads is None or each.threads <= threads}
    return [each for each in measured if counts and each.threads == max(counts)]


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


class Placement(Record, frozen=True, kw_only=True):
    """A measurement under the roofline; `attained_share` is achieved over attainable."""

    arithmetic_intensity: float  # FLOP/byte
    achieved_flops_per_s: float
    attainable_flops_per_s: float
    attained_share: float
    bound: RoofBound  # the roof that is the lower one at this intensity
    region: Region


def ridge_point(flops_per_s: float, bytes_per_s: float) -> float:
    """The arithmetic intensity in FLOP/byte from which on the compute roof is the lower one.

    Raises InputError unless both ceilings are positive and finite.
    """
    _check_ceilings(flops_per_s, bytes_per_s)
    return flops_per_s / bytes_per_s


def attainable_flops_per_s(
    arithmetic_intensity: float, flops_per_s: float, bytes_per_s: float
) -> float:
    """The most FLOP/s that work of this intensity (FLOP/byte) can reach under the two ceilings.

    Raises InputError on a negative intensity or a ceiling that is not positive and finite.
    """
    _check_ceilings(flops_per_s, bytes_per_s)
    if math.isnan(arithmetic_intensity) or arithmetic_intensity < 0:
        raise InputError(
            f"arithmetic intensity must be 0 FLOP/byte or more, not {arithmetic_intensity}.",
            "Give FLOPs over bytes, zero or more.",
        )
    return min(flops_per_s, bytes_per_s * arithmetic_intensity)


def place(
    arithmetic_intensity: float,
    achieved_flops_per_s: float,
    flops_per_s: float,
    bytes_per_s: float,
    tolerance: float = 0.0,
) -> Placement:
    """Place work of this intensity (FLOP/byte) and achieved FLOP/s under two ceilings.

    Work counts as above a roof only when it is above it by more than the share `tolerance`: a
    ceiling is a measurement too. Raises InputError when a rate or the intensity is not positive.
    """
    if not arithmetic_intensity > 0:
        raise InputError(
            f"arithmetic intensity must be above 0 FLOP/byte, not {arithmetic_intensity}.",
            "Work without FLOPs is judged by its bandwidth alone.",
        )
    if not (achieved_flops_per_s > 0 and math.isfinite(achieved_flops_per_s)):
        raise InputError(
            f"the achieved rate must be positive and finite, not {achieved_flops_per_s} FLOP/s.",
            "Give FLOPs over seconds of a run that took time.",
        )
    attainable = attainable_flops_per_s(arithmetic_intensity, flops_per_s, bytes_per_s)
    below_ridge = arithmetic_intensity < ridge_point(flops_per_s, bytes_per_s)
    bound: RoofBound = "memory" if below_ridge else "compute"
    share = achieved_flops_per_s / attainable
    return Placement(
        arithmetic_intensity=arithmetic_intensity,
        achieved_flops_per_s=achieved_flops_per_s,
        attainable_flops_per_s=attainable,
        attained_share=share,
        bound=bound,
        region=_region(share, bound, tolerance),
    )


def _region(share: float, bound: RoofBound, tolerance: float) -> Region:
    # The attainable rate is the lower of the two roofs, so "under half of both" is "under half of
    # it", and what is above it is above the roof that binds there.
    if share > 1 + tolerance:
        return "above the bandwidth roof" if bound == "memory" else "above the compute roof"
    if share < POOR_BELOW:
        return "poor"
    return "memory-bound" if bound == "memory" else "compute-bound"


def _check_ceilings(flops_per_s: float, bytes_per_s: float) -> None:
    for name, value in (("compute", flops_per_s), ("bandwidth", bytes_per_s)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(
                f"the {name} ceiling {value} is not positive and finite.",
                "Measure the ceilings again with `topout machine`.",
            )
