"""Two traces compared, as a document: per group and per kernel, what got slower."""

from collections.abc import Sequence

from topout import units
from topout.records import GroupChange, TraceDiff
from topout.report.document import (
    Absent,
    Cell,
    Chart,
    Column,
    Document,
    Figures,
    Part,
    Row,
    Section,
    Style,
    Table,
    Tile,
)
from topout.report.trace.document import NOT_TOLD
from topout.report.trace.names import largest_changes, milliseconds, short_kernel, signed

_MOST_GROUPS = 20
_TERMS = [
    (
        "Of one step, of the whole trace",
        "Where both traces mark their training or generation steps, all times are those of one "
        "step, so that traces of different length compare. Where one does not, they are those of "
        "the whole trace, and both must hold the same work.",
    ),
    (
        "New, gone",
        "A kernel that only one of the traces has. Another library or GPU has other kernels for "
        "the same work: the groups tell whether that work got slower.",
    ),
    (
        "Calls",
        "How often it ran, before and after. More calls of the same mean time are more work, or "
        "the same work in smaller pieces.",
    ),
]


def trace_diff_document(diff: TraceDiff, top: int = 10) -> Document:
    """The report of a comparison, with charts of the `top` kernels."""
    return Document(
        record=diff,
        title="What got slower?",
        about=_subject(diff),
        headlines=[_headline(diff)],
        tiles=_tiles(diff),
        parts=[
            _changes("groups", "Kernel groups", diff.groups, _MOST_GROUPS, None),
            _changes("kernels", "Kernels", diff.kernels, top, top),
        ],
        findings=diff.findings,
        doubts=diff.doubts,
        absent=Absent(diff.reasons, NOT_TOLD),
        terms=_TERMS,
    )


def _subject(diff: TraceDiff) -> str:
    of = "one step" if diff.per_step else "the whole trace"
    return f"before: {diff.before}; after: {diff.after}; times are those of {of}, mean of devices"


def _headline(diff: TraceDiff) -> str:
    """How the whole changed, in one sentence."""
    what = "A step takes" if diff.per_step else "The trace spans"
    before, after = units.seconds(diff.wall_before_s), units.seconds(diff.wall_after_s)
    if not diff.wall_before_s or diff.wall_after_s == diff.wall_before_s:
        return f"{what} {after}, and took {before}."
    change = abs(diff.wall_after_s / diff.wall_before_s - 1)
    words = "longer" if diff.wall_after_s > diff.wall_before_s else "shorter"
    return f"{what} {after}, where it took {before}: {units.percent(change, 1)} {words}."


def _tiles(diff: TraceDiff) -> list[Tile]:
    of = "one step" if diff.per_step else "the whole trace"
    change = diff.wall_after_s - diff.wall_before_s
    ratio = diff.wall_after_s / diff.wall_before_s if diff.wall_before_s else None
    return [
        Tile("before", units.seconds(diff.wall_before_s), detail=of),
        Tile("after", units.seconds(diff.wall_after_s), detail=of),
        Tile("change", f"{signed(change)} ms", detail=f"{units.times(ratio)} the time"),
    ]


def _changes(
    key: str, title: str, changes: Sequence[GroupChange], drawn: int, most: int | None
) -> Section:
    """The changes, the largest in either direction first; `most` of them on a terminal."""

    def chart() -> Sequence[Chart]:
        from topout.report.trace.diff_chart import change_chart

        return [change_chart(key, title, changes, drawn)]

    columns = [
        Column("", text=True),
        *map(Column, ("Before,\nms", "After,\nms", "Change,\nms", "Ratio", "Calls")),
    ]
    rows = [_row(each) for each in largest_changes(changes)]
    parts: list[Part] = [Table(columns, rows, most=most)]
    if any(each.change_s for each in changes):
        parts.insert(0, Figures(chart, titled=False))
    return Section(f"{title}, the largest change first", parts, key=f"{key}_section")


def _row(each: GroupChange) -> Row:
    alike = each.before_calls == each.after_calls
    calls = f"{each.after_calls:,}" if alike else f"{each.before_calls:,} → {each.after_calls:,}"
    style: Style = "rejected" if each.change_s > 0 else "kept" if each.change_s < 0 else ""
    return Row(
        [
            Cell(each.name, short=short_kernel(each.name)),
            milliseconds(each.before_s),
            milliseconds(each.after_s),
            Cell(signed(each.change_s), style=style),
            _ratio(each),
            calls,
        ]
    )


def _ratio(each: GroupChange) -> str:
    if each.after_calls == 0 and each.before_calls:
        return "gone"
    return "new" if each.ratio is None else units.times(each.ratio)
