"""Operators on the roofline: the work that their shapes ask for, over the time that they took.

A unit is the outermost call whose work is known: what it calls in turn is how it does it. Where
the trace has kernels, a unit's time is that of the kernels which it launched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from topout.cost.roofs import BandwidthRoof, ComputeRoof, roofs_of
from topout.profiling.costs import CallWork, Costs, OperatorKey, shapes_of, why_uncounted
from topout.profiling.regions import Parts
from topout.profiling.slices import Slices, innermost_at, region_name, regions_of
from topout.records import (
    Bound,
    Hardware,
    OperatorRate,
    OpFamily,
    PeakDtype,
    UncountedOperator,
)
from topout.trace.table import Trace

_S = 1e-9


@dataclass(frozen=True)
class Units:
    """The units of some phases: rows of events with key, part, and time_ns."""

    calls: pl.DataFrame  # of `Slices.events`, with unit columns family, flops, bytes, part, time_ns
    uncounted: pl.DataFrame  # calls without known work that no unit is in, and that are not free


def units_of(
    trace: Trace, slices: Slices, numbers: Sequence[int], costs: Costs, parts: Parts
) -> Units:
    """The units among the operators of these phases."""
    operators = slices.operators(numbers)
    works = _works(operators, costs)
    known = operators.filter(pl.Series([work is not None for work in works], dtype=pl.Boolean))
    known = known.with_columns(
        pl.Series("family", [work.family for work in works if work], dtype=pl.String),
        pl.Series("flops", [work.flops for work in works if work], dtype=pl.Float64),
        pl.Series("bytes_moved", [work.bytes for work in works if work], dtype=pl.Float64),
    )
    calls = _outermost(known)
    calls = calls.with_columns(
        pl.Series("part", _parts_of(slices, calls, parts), dtype=pl.String),
        pl.Series("time_ns", _times_ns(trace, calls, operators), dtype=pl.Int64),
    )
    return Units(calls, _uncounted(operators, calls, costs))


def _works(operators: pl.DataFrame, costs: Costs) -> list[CallWork | None]:
    shapes = lru_cache(maxsize=None)(shapes_of)  # few texts, many calls
    return [
        costs.of(OperatorKey(name, shapes(text)))
        for name, text in operators.select("name", "shapes").iter_rows()
    ]


def _outermost(calls: pl.DataFrame) -> pl.DataFrame:
    """Those that lie in no other; calls of a thread nest."""
    longest_first = calls.sort("start_ns", "duration_ns", descending=[False, True])
    reached = pl.col("end_ns").cum_max().shift(1).over("thread")
    return longest_first.filter(reached.is_null() | (pl.col("start_ns") >= reached))


def _parts_of(slices: Slices, calls: pl.DataFrame, parts: Parts) -> list[str]:
    names = slices.events["name"]
    return [
        parts.part(region_name(names[row])) if row >= 0 else ""
        for row in regions_of(slices.events, calls).rows.tolist()
    ]


def _times_ns(trace: Trace, calls: pl.DataFrame, operators: pl.DataFrame) -> list[int]:
    """Of each unit: its own duration, or that of the device's work that it launched."""
    if trace.device_work.is_empty():
        return [int(each) for each in calls["duration_ns"].to_list()]
    launched = device_time_ns(trace, operators)
    units = innermost_at(calls, operators)
    sums: dict[int, int] = {}
    for unit, time_ns in zip(units.tolist(), launched, strict=True):
        sums[unit] = sums.get(unit, 0) + time_ns
    return [sums.get(row, 0) for row in calls["row"].to_list()]


def device_time_ns(trace: Trace, operators: pl.DataFrame) -> list[int]:
    """Per operator the time of the kernels, copies and fills that it launched itself."""
    work = trace.device_work.filter(pl.col("external").is_not_null())
    sums = dict(
        work.group_by("external").agg(pl.col("duration_ns").sum()).iter_rows(),
    )
    return [int(sums.get(each, 0)) for each in operators["external"].to_list()]


def _uncounted(operators: pl.DataFrame, units: pl.DataFrame, costs: Costs) -> pl.DataFrame:
    candidates = operators.filter(~pl.col("name").is_in(list(costs.free)))
    outside = candidates.filter(pl.Series(innermost_at(units, candidates) < 0, dtype=pl.Boolean))
    holding = innermost_at(outside, units)
    return _outermost(outside.filter(~pl.col("row").is_in(np.unique(holding).tolist())))


def operator_rates(
    units: Units, passes: int, hardware: Hardware | None, dtype: PeakDtype
) -> list[OperatorRate]:
    """Units of the same operator in the same part added up, the longest first.

    All stand under the roof of `dtype` and of the memory level that holds what one pass moves:
    between two passes over a weight all others go through the caches.
    """
    roofs = roofs_of(hardware) if hardware is not None else None
    moved = float(units.calls["bytes_moved"].sum())
    level = roofs.level_holding(moved / max(passes, 1), across_ops=True) if roofs else None
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
