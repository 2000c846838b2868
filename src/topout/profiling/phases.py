"""From a captured trace to the profile of each phase."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import polars as pl

from topout.measure.stats import estimate, paired_ratio
from topout.profiling.costs import Costs
from topout.profiling.operators import group_times, operator_times
from topout.profiling.rates import operator_rates, uncounted_operators, units_of
from topout.profiling.regions import (
    Parts,
    gap_times,
    median_pass,
    operator_ns,
    part_times,
    region_times,
    timeline,
)
from topout.profiling.slices import Slices, cut
from topout.records import DeviceTime, ElapsedTime, Hardware, PeakDtype, PhaseProfile
from topout.trace.capture import PhaseMark
from topout.trace.table import Trace

_S = 1e-9
_NO_COUNT = "the work of the operators was not counted"


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
        slowdown=paired_ratio(profiled, plain) if plain and profiled else None,
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
