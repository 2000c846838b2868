"""Two traces compared, as one HTML page that holds everything it shows and loads nothing."""

from collections.abc import Sequence

from topout import units
from topout.records import GroupChange, TraceDiff
from topout.report.document import Chart
from topout.report.page import Tile, render_page, unbroken
from topout.report.trace.diff_chart import change_chart
from topout.report.trace.diff_rows import (
    CHANGE_COLUMNS,
    change_rows,
    diff_headline,
    diff_subject,
    signed,
)

_MOST_GROUPS = 20
_CAPTION = "Time after less time before: to the right what got slower, to the left what got faster."


def trace_diff_page(diff: TraceDiff, top: int = 10) -> str:
    """The comparison as a self-contained HTML document, with charts of the `top` kernels.

    Whatever the record says is shown as text, also where it looks like markup.
    """
    charts = {
        key: Chart(key, title, _CAPTION + _cut(changes, most), change_chart(changes, most))
        for key, title, changes, most in (
            ("groups", "Kernel groups", diff.groups, _MOST_GROUPS),
            ("kernels", "Kernels", diff.kernels, top),
        )
        if any(each.change_s for each in changes)
    }
    return render_page(
        "trace_diff.html.j2",
        diff,
        "What got slower?",
        list(charts.values()),
        diff=diff,
        headline=diff_headline(diff),
        subject=diff_subject(diff),
        tiles=_tiles(diff),
        findings=[unbroken(sentence) for sentence in diff.findings],
        columns=CHANGE_COLUMNS,
        sections=[
            ("groups", "Kernel groups", charts.get("groups"), change_rows(diff.groups)),
            ("kernels", "Kernels", charts.get("kernels"), change_rows(diff.kernels)),
        ],
    )


def _cut(changes: Sequence[GroupChange], most: int) -> str:
    return f" The {most} that changed most." if len(changes) > most else ""


def _tiles(diff: TraceDiff) -> list[Tile]:
    of = "one step" if diff.per_step else "the whole trace"
    change = diff.wall_after_s - diff.wall_before_s
    ratio = diff.wall_after_s / diff.wall_before_s if diff.wall_before_s else None
    return [
        Tile("before", units.seconds(diff.wall_before_s), "", of),
        Tile("after", units.seconds(diff.wall_after_s), "", of),
        Tile("change", f"{signed(change)} ms", "", f"{units.times(ratio)} the time"),
    ]
