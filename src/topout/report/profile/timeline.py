"""One pass as a time line: what ran when, each row called by the row above."""

from typing import Any

import altair as alt

from topout import units
from topout.records import PhaseProfile, TimelineSpan
from topout.records.profile import SpanKind
from topout.report.charts.labels import text_width
from topout.report.charts.theme import BLUE, GREY, ORANGE, Spec, chart_of, finished
from topout.report.profile.names import short_name

_ROW = 18  # pixels
_DEEPEST = 12  # rows below are inside of what is drawn
_LEAST = 0.0004  # of the pass: a third of a pixel
_COLOURS: dict[SpanKind, str] = {"region": BLUE, "operator": ORANGE, "runtime": GREY}


def timeline_chart(phase: PhaseProfile) -> Spec:
    """Boxes over time, at most `_DEEPEST` rows of them, with names where there is room."""
    whole_s = max((span.start_s + span.duration_s for span in phase.timeline), default=0.0) or 1.0
    rows = [
        _row(number, span, whole_s)
        for number, span in enumerate(phase.timeline)
        if span.depth < _DEEPEST and span.duration_s >= _LEAST * whole_s
    ]
    deepest = max((span.depth for span in phase.timeline if span.depth < _DEEPEST), default=0)
    x = alt.X(
        "start:Q",
        title="time since the pass began, ms",
        scale=alt.Scale(domain=[0, whole_s * 1e3], nice=False),
        axis=alt.Axis(tickCount=8, grid=False),
    )
    top = alt.Y(
        "top:Q", title=None, axis=None, scale=alt.Scale(domain=[deepest + 1, 0], nice=False)
    )
    tooltip = [
        alt.Tooltip("name:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("time:N"),
        alt.Tooltip("share:N", title="of the pass"),
        alt.Tooltip("at:N", title="began at"),
    ]
    boxes = (
        chart_of(rows)
        .mark_rect(cornerRadius=1)
        .encode(
            x=x,
            x2="end:Q",
            y=top,
            y2="bottom:Q",
            color=alt.Color(
                "kind:N",
                legend=None,
                scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())),
            ),
            opacity=alt.Opacity("shade:Q", scale=None, legend=None),
            tooltip=tooltip,
        )
    )
    named = [row for row in rows if row["needed"] <= row["part"] * 1600]
    names = (
        chart_of(named)
        .mark_text(color="white", fontSize=11, clip=True)
        .encode(
            x=alt.X("middle:Q"),
            y=alt.Y("centre:Q", axis=None),
            text="label:N",
            opacity=alt.condition("datum.part * width > datum.needed", alt.value(1), alt.value(0)),
            tooltip=tooltip,
        )
    )
    return finished(alt.layer(boxes, names), height=_ROW * (deepest + 1))


def _label(span: TimelineSpan) -> str:
    """What fits into a box: of a module's name the last word, with the number before it."""
    if span.kind != "region":
        return short_name(span.name)
    *outer, last = span.name.split(".")
    return f"{outer[-1]}.{last}" if outer and last.isdigit() else last


def _row(number: int, span: TimelineSpan, whole_s: float) -> dict[str, Any]:
    start_ms, length_ms = span.start_s * 1e3, span.duration_s * 1e3
    label = _label(span)
    return {
        "name": short_name(span.name),
        "label": label,
        "kind": span.kind,
        "time": units.seconds(span.duration_s),
        "share": units.percent(span.duration_s / whole_s, 1),
        "at": units.seconds(span.start_s),
        "start": start_ms,
        "end": start_ms + length_ms,
        "middle": start_ms + length_ms / 2,
        "top": span.depth + 0.05,
        "bottom": span.depth + 0.95,
        "centre": span.depth + 0.5,
        "part": span.duration_s / whole_s,
        "needed": text_width(label) + 8,
        "shade": 0.95 if number % 2 else 0.78,
    }
