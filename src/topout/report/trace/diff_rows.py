"""What got slower between two traces, as rows of text and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from topout import units
from topout.records import GroupChange, TraceDiff
from topout.report.trace.words import milliseconds

CHANGE_COLUMNS = ("Before, ms", "After, ms", "Change, ms", "Ratio", "Calls")


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One group or kernel in both traces."""

    name: str
    before: str  # ms
    after: str
    change: str  # with its sign
    ratio: str
    calls: str
    slower: bool
    faster: bool


def change_rows(changes: Sequence[GroupChange], most: int | None = None) -> list[ChangeRow]:
    """The rows, the largest change in either direction first; at most `most`."""
    return [_row(each) for each in largest(changes, most)]


def largest(changes: Sequence[GroupChange], most: int | None = None) -> list[GroupChange]:
    """Changes by their size, slower or faster."""
    return sorted(changes, key=lambda each: (-abs(each.change_s), each.name))[:most]


def _row(each: GroupChange) -> ChangeRow:
    alike = each.before_calls == each.after_calls
    return ChangeRow(
        name=each.name,
        before=milliseconds(each.before_s),
        after=milliseconds(each.after_s),
        change=signed(each.change_s),
        ratio=_ratio(each),
        calls=f"{each.after_calls:,}" if alike else f"{each.before_calls:,} → {each.after_calls:,}",
        slower=each.change_s > 0,
        faster=each.change_s < 0,
    )


def signed(change_s: float) -> str:
    """A change in ms with its sign: "+12.0", "−3.40", "0"."""
    if change_s == 0:
        return "0"
    return ("+" if change_s > 0 else "\N{MINUS SIGN}") + milliseconds(abs(change_s))


def _ratio(each: GroupChange) -> str:
    if each.after_calls == 0 and each.before_calls:
        return "gone"
    return "new" if each.ratio is None else units.times(each.ratio)


def diff_headline(diff: TraceDiff) -> str:
    """How the whole changed, in one sentence."""
    what = "A step takes" if diff.per_step else "The trace spans"
    before, after = units.seconds(diff.wall_before_s), units.seconds(diff.wall_after_s)
    if not diff.wall_before_s or diff.wall_after_s == diff.wall_before_s:
        return f"{what} {after}, and took {before}."
    change = abs(diff.wall_after_s / diff.wall_before_s - 1)
    words = "longer" if diff.wall_after_s > diff.wall_before_s else "shorter"
    return f"{what} {after}, where it took {before}: {units.percent(change, 1)} {words}."


def diff_subject(diff: TraceDiff) -> str:
    """The two traces, and what the times are of."""
    of = "one step" if diff.per_step else "the whole trace"
    return f"Before: {diff.before}; after: {diff.after}; times are those of {of}, mean of devices"
