"""What got slower from one job to another: each rank beside itself.

Where a job holds several cycles of a rank's profiler each is compared with its like. Files whose
rank is not known, or not theirs alone, are found again by their names.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from topout import units
from topout.errors import InputError
from topout.records.trace import GroupChange, TraceDiff
from topout.trace.analysis.cycles import cycles_of
from topout.trace.analysis.diff import about_devices, all_kinds, diff
from topout.trace.analysis.groups import Rules
from topout.trace.table import Trace


def diff_ranks(before: Sequence[Trace], after: Sequence[Trace], rules: Rules) -> TraceDiff:
    """What got slower from one job to the other, in the mean over the ranks that both have.

    The wall times are those of the slowest rank. Raises InputError where the two have no rank in
    common, and as `diff` does.
    """
    pairs = _pairs(before, after)
    made = [diff(one, other, rules) for one, other in pairs]
    if len(made) == 1 and len(before) == len(after) == 1:
        return made[0]
    merged = replace(
        made[0],
        before=_named(before),
        after=_named(after),
        devices_before=all_kinds(before),
        devices_after=all_kinds(after),
        wall_before_s=max(each.wall_before_s for each in made),
        wall_after_s=max(each.wall_after_s for each in made),
        groups=_mean([each.groups for each in made]),
        kernels=_mean([each.kernels for each in made]),
        doubts=list(dict.fromkeys(doubt for each in made for doubt in each.doubts)),
        reasons=_reasons_over_ranks(made, before, after),
    )
    findings = _findings_over_ranks(merged, made, [one for one, _ in pairs], _labels(before))
    return replace(merged, findings=[*about_devices(before, after), *findings])


def _pairs(before: Sequence[Trace], after: Sequence[Trace]) -> list[tuple[Trace, Trace]]:
    """The traces of each rank, and cycle of its profiler, that both jobs have.

    Of single traces these two, whatever their rank.
    """
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    counterparts = dict(zip(_keys(after), after, strict=True))
    pairs = [
        (trace, counterparts[key])
        for key, trace in zip(_keys(before), before, strict=True)
        if key in counterparts
    ]
    if not pairs:
        raise InputError(
            f"{_named(before)} and {_named(after)} have no rank in common.",
            "Compare two folders with traces of the same ranks; where files do not say theirs, "
            "name them alike (run-rank0.csv, run-rank1.csv).",
        )
    return pairs


class _Key(NamedTuple):
    """What a trace is found again by in the other job."""

    rank: int | None
    cycle: int  # a rank with one recording has one cycle
    file: str = ""  # where rank and cycle are not those of one file alone


def _keys(traces: Sequence[Trace]) -> list[_Key]:
    cycles = cycles_of(traces)
    keys = [_Key(trace.rank, cycle or 1) for trace, cycle in zip(traces, cycles, strict=True)]
    times = Counter(keys)
    return [
        key._replace(file=trace.path.name) if times[key] > 1 else key
        for key, trace in zip(keys, traces, strict=True)
    ]


def _labels(traces: Sequence[Trace]) -> dict[Path, str]:
    """What each file is called: "rank 1", "rank 1 in cycle 2", or by its name."""
    labels = {}
    for trace, key, cycle in zip(traces, _keys(traces), cycles_of(traces), strict=True):
        parts = [f"rank {key.rank}"] if key.rank is not None else []
        parts += [f"cycle {cycle}"] if cycle else []
        labels[trace.path] = key.file or " in ".join(parts) or trace.path.name
    return labels


def _named(traces: Sequence[Trace]) -> str:
    """The file, or the folder of several."""
    first = traces[0].path
    return str(first if len(traces) == 1 else first.parent)


def _mean(of_ranks: Sequence[Sequence[GroupChange]]) -> list[GroupChange]:
    """Each name's mean over all ranks, the largest change first; a rank without it has 0 of it."""
    found: dict[str, list[GroupChange]] = {}
    for changes in of_ranks:
        for change in changes:
            found.setdefault(change.name, []).append(change)
    means = [_mean_of(changes, len(of_ranks)) for changes in found.values()]
    return sorted(means, key=lambda each: (-abs(each.change_s), each.name))


def _mean_of(changes: Sequence[GroupChange], ranks: int) -> GroupChange:
    def mean(of: Callable[[GroupChange], float]) -> float:
        return sum(map(of, changes)) / ranks

    before_s, after_s = mean(lambda each: each.before_s), mean(lambda each: each.after_s)
    return GroupChange(
        name=changes[0].name,
        before_s=before_s,
        after_s=after_s,
        before_calls=round(mean(lambda each: each.before_calls)),
        after_calls=round(mean(lambda each: each.after_calls)),
        change_s=after_s - before_s,
        ratio=after_s / before_s if before_s else None,
    )


def _reasons_over_ranks(
    made: Sequence[TraceDiff], before: Sequence[Trace], after: Sequence[Trace]
) -> dict[str, str]:
    reasons = {name: reason for each in made for name, reason in each.reasons.items()}
    left_out = len(before) + len(after) - 2 * len(made)
    if left_out:
        reasons["ranks"] = (
            f"{left_out} of {len(before) + len(after)} traces have no counterpart of their rank, "
            "cycle or name and are left out."
        )
    return reasons


def _findings_over_ranks(
    merged: TraceDiff,
    made: Sequence[TraceDiff],
    traces: Sequence[Trace],
    labels: Mapping[Path, str],
) -> list[str]:
    """The whole, the group that changed most, and the rank whose time changed most."""
    what = "A step" if merged.per_step else "The trace"
    one_each = len({trace.rank for trace in traces}) == len(traces)
    whose = "ranks" if one_each else "recordings"
    found = [
        f"{what} of the slowest of {len(made)} {whose} takes {units.seconds(merged.wall_after_s)} "
        f"after {units.seconds(merged.wall_before_s)} before."
    ]
    if merged.groups and merged.groups[0].change_s:
        group = merged.groups[0]
        found.append(
            f"The group that changed most is {group.name}: {units.seconds(group.before_s)} became "
            f"{units.seconds(group.after_s)} in the mean over the {whose}."
        )
    growth = [each.wall_after_s - each.wall_before_s for each in made]
    place = max(range(len(made)), key=lambda number: abs(growth[number]))
    if growth[place] and max(growth) - min(growth) > abs(growth[place]) / 2:
        found.append(
            f"The {whose} did not change alike: {labels[traces[place].path]} went from "
            f"{units.seconds(made[place].wall_before_s)} to "
            f"{units.seconds(made[place].wall_after_s)}."
        )
    return found
