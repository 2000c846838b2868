"""Operators on the roofline: the work that their shapes ask for, over the time that they took."""

import polars as pl

from topout.cost.roofs import BandwidthRoof, ComputeRoof, roofs_of
from topout.profiling.costs import Costs, why_uncounted
from topout.profiling.units import Units
from topout.records import (
    Bound,
    Hardware,
    OperatorRate,
    OpFamily,
    PeakDtype,
    UncountedOperator,
)

_S = 1e-9


def operator_rates(
    units: Units, passes: int, hardware: Hardware | None, dtype: PeakDtype
) -> list[OperatorRate]:
    """Units of the same operator in the same part added up, the longest first.

    All stand under the roof of `dtype` and of the memory level that holds what one pass moves:
    between two passes over a weight all others go through the caches.
    """
    roofs = roofs_of(hardware) if hardware is not None else None
    moved = float(units.calls["bytes_moved"].sum())
    level = roofs.level_holding(moved / max(passes, 1)) if roofs is not None else None
    peak = roofs.peak(dtype) if roofs is not None else None
    sums = units.calls.group_by("part", "name", maintain_order=True).agg(
        pl.col("family").first(),
        pl.len().alias("calls"),
        pl.col("time_ns").sum(),
        pl.col("flops").sum(),
        pl.col("bytes_moved").sum(),
    )
    rates = [_rate(level, peak, *row) for row in sums.filter(pl.col("time_ns") > 0).iter_rows()]
    return sorted(rates, key=lambda rate: (-rate.time_s, rate.part, rate.name))


def _rate(
    level: BandwidthRoof | None,
    peak: ComputeRoof | None,
    part: str,
    name: str,
    family: OpFamily,
    calls: int,
    time_ns: int,
    flops: float,
    moved: float,
) -> OperatorRate:
    time_s = time_ns * _S
    bandwidth = level.bytes_per_s if level is not None else None
    arithmetic = peak.flops_per_s if peak is not None else None
    return OperatorRate(
        name=name,
        part=part,
        family=family,
        calls=calls,
        time_s=time_s,
        flops=round(flops),
        bytes=round(moved),
        flops_per_s=flops / time_s,
        bytes_per_s=moved / time_s,
        arithmetic_intensity=flops / moved if moved else None,
        of_compute_ceiling=flops / time_s / arithmetic if arithmetic else None,
        of_bandwidth_ceiling=moved / time_s / bandwidth if bandwidth else None,
        level=level.level if level is not None else None,
        bound=_bound(flops, moved, time_s, arithmetic, bandwidth),
    )


def _bound(
    flops: float, moved: float, time_s: float, arithmetic: float | None, bandwidth: float | None
) -> Bound | None:
    """What takes the larger part of the time: arithmetic, moving bytes, or neither."""
    if not arithmetic or not bandwidth:
        return None
    compute_s, memory_s = flops / arithmetic, moved / bandwidth
    if max(compute_s, memory_s) < time_s / 2:
        return "overhead"
    return "compute" if compute_s > memory_s else "memory"


def uncounted_operators(units: Units, costs: Costs) -> list[UncountedOperator]:
    """Operators without known work, the longest first."""
    sums = units.uncounted.group_by("name").agg(pl.len().alias("calls"), pl.sum("duration_ns"))
    found = [
        UncountedOperator(
            name=name, calls=calls, total_s=time_ns * _S, reason=why_uncounted(costs, name)
        )
        for name, calls, time_ns in sums.iter_rows()
    ]
    return sorted(found, key=lambda each: (-each.total_s, each.name))
