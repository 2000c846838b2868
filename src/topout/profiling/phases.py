"""From a captured trace to the profile of each phase: operators, groups, regions, gaps, rates."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import polars as pl

from topout.measure.speed_test import SpeedTest
from topout.measure.stats import estimate
from topout.profiling.rates import (
    Costs,
    Units,
    device_time_ns,
    operator_rates,
    shapes_of,
    uncounted_operators,
    units_of,
)
from topout.profiling.regions import (
    Parts,
    gap_times,
    median_pass,
    operator_ns,
    part_times,
    region_times,
    timeline,
)
from topout.profiling.slices import Slices, cut, innermost_at
from topout.records import (
    DeviceTime,
    ElapsedTime,
    GroupTime,
    Hardware,
    OperatorShape,
    OperatorTime,
    PeakDtype,
    PhaseProfile,
)
from topout.trace.capture import PhaseMark
from topout.trace.table import Trace

_MOST_SHAPES, _EXAMPLES = 8, 3
_LENGTH = pl.col("end_ns") - pl.col("start_ns")
WRAPPERS = "views and wrappers"
# The counting run's families by the names that groups of kernels have.
_GROUPS = {"product": "matrix-mul", "elementwise": "element-wise", "movement": "memory"}
_S = 1e-9
_NO_COUNT = "the work of the operators was not counted"


def operator_times(
    trace: Trace, slices: Slices, numbers: Sequence[int], traced_s: float
) -> list[OperatorTime]:
    """Each operator of these phases, the largest self time first."""
    calls = _calls(trace, slices, numbers)
    rows = []
    for (name,), found in calls.group_by("name", maintain_order=True):
        count, self_ns = found.height, int(found["self_ns"].sum())
        total_ns = int(found["duration_ns"].sum())
        device_ns = found["device_ns"].sum() if "device_ns" in found.columns else None
        rows.append(
            OperatorTime(
                name=str(name),
                calls=count,
                self_s=self_ns * _S,
                self_share=self_ns * _S / traced_s if traced_s else 0.0,
                total_s=total_ns * _S,
                mean_s=total_ns * _S / count,
                device_s=None if device_ns is None else int(device_ns) * _S,
                shapes=_by_shapes(found),
            )
        )
    return sorted(rows, key=lambda row: (-row.self_s, row.name))


def _calls(trace: Trace, slices: Slices, numbers: Sequence[int]) -> pl.DataFrame:
    """The calls with their self times, and with their time on devices where there are any.

    A call that began before the phase has self time in it and is no call of it.
    """
    own = (
        slices.of(numbers)
        .filter(pl.col("operator") >= 0)
        .group_by("operator")
        .agg(_LENGTH.sum().alias("self_ns"))
    )
    calls = slices.operators(numbers)
    calls = calls.join(own, left_on="row", right_on="operator", how="left", maintain_order="left")
    calls = calls.with_columns(pl.col("self_ns").fill_null(0))
    if trace.device_work.is_empty():
        return calls
    return calls.with_columns(pl.Series("device_ns", device_time_ns(trace, calls), dtype=pl.Int64))


def _by_shapes(calls: pl.DataFrame) -> list[OperatorShape]:
    sums = (
        calls.group_by(pl.col("shapes").fill_null(""), maintain_order=True)
        .agg(pl.len().alias("calls"), pl.col("self_ns").sum(), pl.col("duration_ns").sum())
        .sort("duration_ns", descending=True)
        .head(_MOST_SHAPES)
    )
    return [
        OperatorShape(
            shapes=shapes_text(text), calls=count, self_s=self_ns * _S, total_s=total_ns * _S
        )
        for text, count, self_ns, total_ns in sums.iter_rows()
    ]


def shapes_text(text: str | None) -> str:
    """The shapes as people write them: "[8, 768] [768, 2304]"."""
    return " ".join(str(list(shape)) for shape in shapes_of(text))


def group_times(slices: Slices, numbers: Sequence[int], units: Units) -> list[GroupTime]:
    """The time by what operators do, the longest first; views and mere callers
    of others are a group of their own."""
    table = slices.of(numbers)
    inside = table.filter(pl.col("operator") >= 0)
    families = dict(zip(units.calls["row"].to_list(), units.calls["family"].to_list(), strict=True))
    unknown = set(units.uncounted["row"].to_list())
    of_unit = innermost_at(units.calls, inside)
    of_unknown = innermost_at(units.uncounted, inside)
    names = [
        _group(families.get(int(unit)), int(other) in unknown)
        for unit, other in zip(of_unit, of_unknown, strict=True)
    ]
    inside = inside.with_columns(pl.Series("group", names, dtype=pl.String))
    sums = inside.group_by("group").agg(_LENGTH.sum(), pl.col("operator").n_unique().alias("calls"))
    members = _members(units)
    whole = sum(sums["end_ns"].to_list()) or 1
    groups = []
    for name, length, operators in sums.iter_rows():
        calls, examples = members.get(name, (operators, []))
        groups.append(
            GroupTime(
                name=name,
                calls=calls,
                total_s=length * _S,
                share=length / whole,
                examples=examples,
            )
        )
    return sorted(groups, key=lambda group: (-group.total_s, group.name))


def _group(family: str | None, is_unknown: bool) -> str:
    if family is not None:
        return _GROUPS.get(family, family)
    return "other" if is_unknown else WRAPPERS


def _members(units: Units) -> dict[str, tuple[int, list[str]]]:
    """Calls and the longest operators of each group."""
    found: dict[str, tuple[int, list[str]]] = {}
    known = units.calls.select("name", "family", "duration_ns")
    unknown = units.uncounted.select("name", pl.lit("other").alias("family"), "duration_ns")
    for (family,), calls in pl.concat([known, unknown]).group_by("family", maintain_order=True):
        longest = calls.group_by("name").agg(pl.col("duration_ns").sum()).sort("duration_ns")
        names = longest["name"].reverse().head(_EXAMPLES).to_list()
        found[_GROUPS.get(str(family), str(family))] = (calls.height, names)
    return found


@dataclass(frozen=True)
class Recorded:
    """A captured run, and what is needed to read it."""

    trace: Trace
    marks: list[PhaseMark]  # of the captured run
    types: Mapping[str, str]  # classes of the modules by name
    costs: Costs | None
    hardware: Hardware | None
    dtype: PeakDtype


@dataclass(frozen=True)
class Timed:
    """Runs in turns: seconds of each phase with the profiler and without, pair by pair."""

    plain_s: Mapping[str, Sequence[float]]
    profiled_s: Mapping[str, Sequence[float]]
    elapsed: Mapping[str, ElapsedTime]


def phase_of(pass_name: str) -> str:
    """The phase that a pass belongs to: "decode token 3" → "decode", "call 1" → "call"."""
    return re.sub(r"( token)? \d+$", "", pass_name)


def wall_times(marks: Sequence[PhaseMark]) -> dict[str, float]:
    """Seconds of each phase by the clock, its passes together."""
    sums: dict[str, float] = {}
    for mark in marks:
        name = phase_of(mark.name)
        sums[name] = sums.get(name, 0.0) + mark.wall_s
    return sums


def profile_phases(
    recorded: Recorded, timed: Timed, wanted: Sequence[str] | None = None
) -> list[PhaseProfile]:
    """The profile of each phase in the order of the run; `wanted`: of these alone."""
    slices = cut(recorded.trace)
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(slices.phases["name"].to_list()):
        numbers.setdefault(phase_of(name), []).append(number)
    walls = wall_times(recorded.marks)
    return [
        _with_timing(_phase(recorded, slices, name, passes, walls.get(name, 0.0)), timed)
        for name, passes in numbers.items()
        if wanted is None or name in wanted
    ]


def _phase(
    recorded: Recorded, slices: Slices, name: str, numbers: list[int], wall_s: float
) -> PhaseProfile:
    parts, trace = Parts(recorded.types), recorded.trace
    spans = slices.phases["end_ns"] - slices.phases["start_ns"]
    traced_s = sum(spans[number] for number in numbers) * _S
    operators_ns, covered_ns = operator_ns(slices, numbers)
    regions = region_times(slices, numbers, parts, traced_s)
    example = median_pass(slices, numbers)
    profile = PhaseProfile(
        name=name,
        passes=len(numbers),
        wall_s=wall_s,
        traced_s=traced_s,
        operators_s=operators_ns * _S,
        gap_s=traced_s - covered_ns * _S,
        overlap_s=(operators_ns - covered_ns) * _S,
        operators=operator_times(trace, slices, numbers, traced_s),
        regions=regions,
        parts=part_times(regions, parts),
        gaps=gap_times(slices, numbers, parts, traced_s),
        devices=_devices(trace, slices, numbers),
        timeline=timeline(slices, example),
        timeline_pass=str(slices.phases["name"][example]),
    )
    return _with_work(profile, recorded, slices, numbers, parts)


def _with_work(
    profile: PhaseProfile, recorded: Recorded, slices: Slices, numbers: list[int], parts: Parts
) -> PhaseProfile:
    """With what follows from the work of the operators, where it was counted."""
    costs = recorded.costs
    if costs is None:
        return msgspec.structs.replace(profile, reasons={"rates": _NO_COUNT, "groups": _NO_COUNT})
    units = units_of(recorded.trace, slices, numbers, costs, parts)
    return msgspec.structs.replace(
        profile,
        groups=group_times(slices, numbers, units),
        rates=operator_rates(units, len(numbers), recorded.hardware, recorded.dtype),
        uncounted=uncounted_operators(units, costs),
    )


def _with_timing(profile: PhaseProfile, timed: Timed) -> PhaseProfile:
    plain, profiled = timed.plain_s.get(profile.name), timed.profiled_s.get(profile.name)
    return msgspec.structs.replace(
        profile,
        unprofiled_s=estimate(plain) if plain else None,
        slowdown=SpeedTest().ratio(profiled, plain) if plain and profiled else None,
        elapsed=timed.elapsed.get(profile.name),
    )


def _devices(trace: Trace, slices: Slices, numbers: list[int]) -> list[DeviceTime]:
    """What `topout trace` says of each GPU during these phases; nothing without a GPU."""
    if trace.device_work.is_empty():
        return []
    from topout.trace.analysis.breakdown import break_down
    from topout.trace.analysis.groups import load_rules

    begin_ns = min(slices.phases["start_ns"][number] for number in numbers)
    end_ns = max(slices.phases["end_ns"][number] for number in numbers)
    inside = (pl.col("start_ns") >= begin_ns) & (pl.col("start_ns") < end_ns)
    part = replace(trace, events=trace.events.filter(inside))
    return list(break_down(part, load_rules(None)))
