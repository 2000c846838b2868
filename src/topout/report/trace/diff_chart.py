"""What got slower, as bars to the right, and what got faster, as bars to the left."""

from collections.abc import Sequence

import altair as alt

from topout import units
from topout.records import GroupChange
from topout.report.charts.theme import BLUE, ORANGE, Spec, chart_of, finished
from topout.report.document import Chart
from topout.report.trace.bars import Row, time_unit
from topout.report.trace.names import largest_changes, short_kernel, signed

_COLOURS = {"slower": ORANGE, "faster": BLUE}
_STEP = 28  # pixels of a bar
_MARGIN = {"left": 16, "top": 4, "right": 4, "bottom": 4}
_FIGURE = 48  # pixels of the figure at the end of the longest bar
_LONGEST = 24  # letters of a name beside the bars


_CAPTION = "Time after less time before: to the right what got slower, to the left what got faster."


def change_chart(key: str, title: str, changes: Sequence[GroupChange], most: int) -> Chart:
    """A bar for each of the `most` largest changes, by its sign to the left or right of zero."""
    cut = f" The {most} that changed most." if len(changes) > most else ""
    return Chart(key, title, _CAPTION + cut, change_bars(changes, most))


def change_bars(changes: Sequence[GroupChange], most: int) -> Spec:
    """The spec of the chart."""
    shown = [each for each in largest_changes(changes, most) if each.change_s]
    shown.sort(key=lambda each: -each.change_s)
    extent = max((abs(each.change_s) for each in shown), default=0.0)
    scale, unit = time_unit(extent)
    rows = [_row(each, scale, number) for number, each in enumerate(shown)]
    y = alt.Y(
        "label:N",
        sort=[row["label"] for row in rows],
        title=None,
        axis=alt.Axis(labelLimit=165, grid=False),
    )
    base = chart_of(rows)
    bars = base.mark_bar(height=_STEP * 0.66).encode(
        x=alt.X(
            "change:Q",
            title=f"change, {unit}",
            scale=alt.Scale(zero=True, nice=False, padding=_FIGURE),
            axis=alt.Axis(tickCount=6),
        ),
        y=y,
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())),
        ),
        tooltip=[
            alt.Tooltip("name:N"),
            alt.Tooltip("before:N"),
            alt.Tooltip("after:N"),
            alt.Tooltip("figure:N", title="change, ms"),
        ],
    )
    right = base.mark_text(align="left", dx=5).encode(x="change:Q", y=y, text="figure:N")
    left = base.mark_text(align="right", dx=-5).encode(x="change:Q", y=y, text="figure:N")
    layers = alt.layer(
        bars,
        right.transform_filter("datum.change > 0"),
        left.transform_filter("datum.change < 0"),
    )
    return finished(layers, height=_STEP * max(1, len(rows)), padding=_MARGIN)


def _row(each: GroupChange, scale: float, number: int) -> Row:
    return {
        # The number keeps apart what looks alike when cut; it is drawn as nothing.
        "label": short_kernel(each.name, _LONGEST) + "\u200b" * number,
        "name": each.name,
        "change": each.change_s / scale,
        "kind": "slower" if each.change_s > 0 else "faster",
        "before": units.seconds(each.before_s),
        "after": units.seconds(each.after_s),
        "figure": signed(each.change_s),
    }
