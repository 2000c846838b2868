"""Comparing the ranks of two jobs: each rank with itself, and then the mean over the ranks."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from topout import units
from topout.errors import InputError
from topout.records import GroupChange, TraceDiff
from topout.trace.analysis.diff import diff
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
        wall_before_s=max(each.wall_before_s for each in made),
        wall_after_s=max(each.wall_after_s for each in made),
        groups=_mean([each.groups for each in made]),
        kernels=_mean([each.kernels for each in made]),
        doubts=list(dict.fromkeys(doubt for each in made for doubt in each.doubts)),
        reasons=_reasons(made, before, after),
    )
    return replace(merged, findings=_findings(merged, made, [one.rank for one, _ in pairs]))


def _pairs(before: Sequence[Trace], after: Sequence[Trace]) -> list[tuple[Trace, Trace]]:
    """The traces of each rank that both jobs have; of single traces, whatever their rank."""
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    of_rank = {trace.rank: trace for trace in after}
    pairs = [(trace, of_rank[trace.rank]) for trace in before if trace.rank in of_rank]
    if not pairs:
        raise InputError(
            f"{_named(before)} and {_named(after)} have no rank in common.",
            "Compare two folders with traces of the same ranks.",
        )
    return pairs


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


def _reasons(
    made: Sequence[TraceDiff], before: Sequence[Trace], after: Sequence[Trace]
) -> dict[str, str]:
    reasons = {name: reason for each in made for name, reason in each.reasons.items()}
    left_out = len(before) + len(after) - 2 * len(made)
    if left_out:
        reasons["ranks"] = (
            f"{left_out} of {len(before) + len(after)} traces have no counterpart of their rank "
            "and are left out."
        )
    return reasons


def _findings(merged: TraceDiff, made: Sequence[TraceDiff], ranks: list[int | None]) -> list[str]:
    """The whole, the group that changed most, and the rank whose time changed most."""
    what = "A step" if merged.per_step else "The trace"
    found = [
        f"{what} of the slowest of {len(made)} ranks takes {units.seconds(merged.wall_after_s)} "
        f"after {units.seconds(merged.wall_before_s)} before."
    ]
    if merged.groups and merged.groups[0].change_s:
        group = merged.groups[0]
        found.append(
            f"The group that changed most is {group.name}: {units.seconds(group.before_s)} became "
            f"{units.seconds(group.after_s)} in the mean over the ranks."
        )
    growth = [each.wall_after_s - each.wall_before_s for each in made]
    place = max(range(len(made)), key=lambda number: abs(growth[number]))
    if growth[place] and max(growth) - min(growth) > abs(growth[place]) / 2:
        found.append(
            f"The ranks did not change alike: rank {ranks[place]} went from "
            f"{units.seconds(made[place].wall_before_s)} to "
            f"{units.seconds(made[place].wall_after_s)}."
        )
    return found
