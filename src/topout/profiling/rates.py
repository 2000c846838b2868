"""Operators on the roofline: the work that their shapes ask for, over the time that they took.

The work is from a counting run, which knows operators by name and the shapes of their inputs, as a
trace does. A unit is the outermost call whose work is known: what it calls in turn is how it does
it. Where the trace has kernels, a unit's time is that of the kernels which it launched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from topout.cost.roofs import BandwidthRoof, ComputeRoof, roofs_of
from topout.profiling.regions import Parts
from topout.profiling.slices import Slices, innermost_at, region_name, regions_of
from topout.records import (
    Bound,
    Count,
    CountedOp,
    Hardware,
    OperatorRate,
    OpFamily,
    PeakDtype,
    UncountedOperator,
)
from topout.trace.table import Trace

Shapes = tuple[tuple[int, ...], ...]
_NEVER_COUNTED = "it did not run, or not on these shapes, in the counting run"
_S = 1e-9


class OperatorKey(NamedTuple):
    """An operator and the shapes of its inputs, those without a dimension left out.

    A trace shows a number and a tensor without dimensions alike.
    """

    name: str
    shapes: Shapes


class CallWork(msgspec.Struct, frozen=True):
    """The work of one call: the mean over the calls that were counted."""

    family: OpFamily
    flops: float  # products and elementwise work
    bytes: float


class Costs(msgspec.Struct, frozen=True):
    """The work by operator and shapes; what is free; why something has none."""

    work: dict[OperatorKey, CallWork]
    free: frozenset[str]  # names of operators that compute and move nothing, or only call others
    reasons: dict[str, str]  # by name

    def of(self, key: OperatorKey) -> CallWork | None:
        """The work of one call; None where it is not known.

        PyTorch may choose another form of an operator while it is counted, which has the same
        work: an elementwise one out of place instead of in place, a product of two matrices for
        a batch of one.
        """
        found = self.work.get(key)
        if found is not None:
            return found
        if key.name == "aten::bmm" and all(shape[0] == 1 for shape in key.shapes):
            single = tuple(shape[1:] for shape in key.shapes)
            return self.work.get(OperatorKey("aten::mm", single))
        is_in_place = key.name.endswith("_")
        other = key.name.removesuffix("_") if is_in_place else f"{key.name}_"
        found = self.work.get(key._replace(name=other))
        return found if found is not None and found.family == "elementwise" else None


def costs_of(counts: Sequence[Count], names: Sequence[str]) -> Costs:
    """The costs from counting runs; `names` are those of the trace, of which some are free."""
    rows = [row for count in counts for row in count.rows if row.family != "unknown"]
    sums: dict[OperatorKey, list[CountedOp]] = {}
    for row in rows:
        key = OperatorKey(row.name, without_scalars(row.inputs))
        sums.setdefault(key, []).append(row)
    reasons = {left.name: left.reason for count in counts for left in count.not_counted}
    work = {key: _mean(found) for key, found in sums.items()}
    return Costs(work, frozenset(name for name in names if is_free(name)), reasons)


def _mean(rows: list[CountedOp]) -> CallWork:
    calls = sum(row.work.calls for row in rows)
    flops = sum(row.work.flops + row.work.other_flops for row in rows)
    moved = sum(row.work.bytes for row in rows)
    return CallWork(rows[0].family, flops / calls, moved / calls)


def without_scalars(shapes: Sequence[Sequence[int]]) -> Shapes:
    """Shapes with at least one dimension."""
    return tuple(tuple(shape) for shape in shapes if shape)


def shapes_of(text: str | None) -> Shapes:
    """The shapes of a trace's operator from their JSON, with lists of tensors spread out.

    Whatever is no list of sizes is passed over: a trace may say anything.
    """
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(_flat(found)) if isinstance(found, list) else ()


def _flat(value: list[object]) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    for part in value:
        if not isinstance(part, list) or not part:
            continue
        sizes = [each for each in part if type(each) is int]
        if len(sizes) == len(part):
            shapes.append(tuple(sizes))
        else:
            shapes += _flat(part)
    return shapes


def is_free(name: str) -> bool:
    """Whether PyTorch's operator `name` neither computes nor moves anything by itself."""
    import torch

    namespace, _, short = name.partition("::")
    if not short or namespace in ("autograd", "torch"):
        return True  # a node of autograd's graph: what it does is done by operators
    try:
        packet = getattr(getattr(torch.ops, namespace), short)
        return any(_is_free_overload(getattr(packet, each)) for each in packet.overloads())
    except (AttributeError, RuntimeError):
        return False


def _is_free_overload(overload: Any) -> bool:
    from topout.cost.graph.recorder import plan_of

    try:
        plan = plan_of(overload)
    except (AttributeError, RuntimeError):  # one of TorchScript alone, which no tensor reaches
        return False
    return plan.free or plan.decomposes


def why_uncounted(costs: Costs, name: str) -> str:
    """Why an operator has no work."""
    return costs.reasons.get(name, _NEVER_COUNTED)


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
