"""The charts of a profile: where the time goes, a pass over time, the roofline, memory."""

from typing import Any, Literal

import altair as alt

from topout import units
from topout.cost.roofs import RooflinePoint
from topout.errors import InputError
from topout.records import (
    Hardware,
    MemoryTrack,
    OperatorRate,
    PhaseProfile,
    ProfileReport,
    TimelineSpan,
)
from topout.report.charts.labels import text_width
from topout.report.charts.theme import (
    BLUE,
    GREY,
    ORANGE,
    VALUE_MARGIN,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    tooltips,
)
from topout.report.document import Chart
from topout.report.figures import GAP, rate_name, short_name
from topout.report.roofline.hierarchical import ROOFLINE_CAPTION, hierarchical_roofline

Interpolation = Literal["step-after", "linear"]
_MOST_BARS, _MOST_POINTS = 12, 7
_LEAST_POINT = 0.01  # of the phase's time: what is less is not drawn on the roofline
_WIDER_LABELS = 30
_STEP = 22  # pixels per bar
_BARS = (
    "Self times of the profiled run: the time in an operator and in none that it called. "
    "All bars together are the whole phase."
)
_PARTS = (
    "The time in each part itself, without the parts inside of it; all layers together. "
    "Grey: between the operators, in Python and the framework."
)
_LINE = (
    "One pass from left to right, the one of median length. Each row is called by the row above: "
    "blue modules, orange operators. Hover to read the names."
)
_MEMORY = "Bytes that PyTorch's allocator holds, since the profiler began."
_RESIDENT = "The whole process, at the ends of passes."
_POINTS = (
    " Points: operators with counted work in their part of the model, at the rate that their "
    "whole time gives."
)


def profile_charts(report: ProfileReport, hardware: Hardware | None) -> list[Chart]:
    """The charts that `report` has the figures for, in the order in which they are read."""
    charts = []
    for phase in report.phases:
        key, name = _key(phase.name), phase.name
        if phase.operators or phase.gap_s:
            title = f"Where the time goes: {name}, by operator"
            charts.append(Chart(f"operators_{key}", title, _BARS, operators_chart(phase)))
        if phase.parts:
            title = f"Where the time goes: {name}, by part"
            charts.append(Chart(f"parts_{key}", title, _PARTS, parts_chart(phase)))
        if phase.timeline:
            title = f"The time line of {phase.timeline_pass}"
            charts.append(Chart(f"timeline_{key}", title, _LINE, timeline_chart(phase)))
    roofline = profile_roofline(report, hardware) if hardware is not None else None
    if roofline is not None:
        charts.append(Chart("roofline", "The roofline", ROOFLINE_CAPTION + _POINTS, roofline))
    for number, track in enumerate(report.memory):
        if track.points:
            title = f"Memory over time: {track.name}"
            charts.append(Chart(f"memory_{number}", title, _MEMORY, memory_chart(track)))
        if len(track.resident) > 1:
            spec = resident_chart(track)
            charts.append(Chart(f"resident_{number}", "Resident memory", _RESIDENT, spec))
    return charts


def _key(name: str) -> str:
    """A name that an element of the page can have."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)


def operators_chart(phase: PhaseProfile) -> Spec:
    """A bar per operator, the others in one, and the time in none."""
    shown, rest = phase.operators[:_MOST_BARS], phase.operators[_MOST_BARS:]
    bars = [
        (short_name(each.name), each.self_s, f"{each.calls} calls", "operator") for each in shown
    ]
    if rest:
        rest_s = sum(each.self_s for each in rest)
        bars.append((f"{len(rest)} others", rest_s, "", "operator"))
    bars.append((GAP, phase.gap_s, "", "gap"))
    rows: list[Row] = [
        {
            "name": name,
            "ms": time_s * 1e3,
            "kind": kind,
            "calls": calls,
            "text": units.percent(time_s / phase.traced_s if phase.traced_s else None, 1),
            "time": units.seconds(time_s),
        }
        for name, time_s, calls, kind in bars
    ]
    return _bars(rows, [row["name"] for row in rows], {"operator": ORANGE, "gap": GREY})


def parts_chart(phase: PhaseProfile) -> Spec:
    """A bar per part: in operators, and between them."""
    rows: list[Row] = []
    for part in phase.parts[: 2 * _MOST_BARS]:
        share = units.percent(part.self_share, 1)
        rows += [
            {
                "name": part.name,
                "ms": time_s * 1e3,
                "kind": kind,
                "calls": f"{part.calls} calls",
                "text": share if kind == "gap" else "",
                "time": units.seconds(time_s),
            }
            for kind, time_s in (("operator", part.operator_s), ("gap", part.gap_s))
        ]
    shown = [part.name for part in phase.parts[: 2 * _MOST_BARS]]
    return _bars(rows, shown, {"operator": BLUE, "gap": GREY})


def _bars(rows: list[Row], order: list[str], colours: dict[str, str]) -> Spec:
    names = list(dict.fromkeys(row["name"] for row in rows))
    totals: dict[str, float] = {}
    for row in rows:
        totals[row["name"]] = totals.get(row["name"], 0.0) + row["ms"]
    ends = [
        {"name": row["name"], "end": totals[row["name"]], "text": row["text"]}
        for row in rows
        if row["text"]
    ]
    y = names_axis("name", order, 240)
    bars = (
        chart_of(rows)
        .mark_bar(height=15, opacity=0.9)
        .encode(
            x=alt.X("ms:Q", stack="zero", title="self time, ms", axis=alt.Axis(tickCount=6)),
            y=y,
            color=coloured("kind", colours, title=None, legend=None),
            order=alt.Order("kind:N", sort="descending"),
            tooltip=tooltips("name, kind: in, time, calls"),
        )
    )
    text = chart_of(ends).mark_text(align="left", dx=6).encode(x="end:Q", y=y, text="text:N")
    # A static picture is measured with one font and may be shown with a wider one.
    padding = VALUE_MARGIN | {"left": _WIDER_LABELS}
    return finished(alt.layer(bars, text), height=_STEP * len(names), padding=padding)


def profile_roofline(report: ProfileReport, hardware: Hardware) -> Spec | None:
    """The longest operators of each phase under the roofs; None where a roof is missing."""
    dtype = report.workload.dtype if report.workload is not None else None
    points = [
        _point(phase, rate)
        for phase in report.phases
        for rate in [rate for rate in phase.rates if _is_drawn(phase, rate)][:_MOST_POINTS]
    ]
    try:
        return hierarchical_roofline(hardware, points, dtype=dtype)
    except InputError:
        return None


def _is_drawn(phase: PhaseProfile, rate: OperatorRate) -> bool:
    return rate.flops > 0 and rate.time_s >= _LEAST_POINT * phase.traced_s


def _point(phase: PhaseProfile, rate: OperatorRate) -> RooflinePoint:
    share = units.percent(rate.time_s / phase.traced_s if phase.traced_s else None, 1)
    return RooflinePoint(
        name=rate_name(rate),
        group=phase.name,
        arithmetic_intensity=rate.arithmetic_intensity or 0.0,
        flops_per_s=rate.flops_per_s,
        predicted=False,
        level=rate.level,
        detail=f"{units.seconds(rate.time_s)}, {share} of {phase.name}",
    )


def memory_chart(track: MemoryTrack) -> Spec:
    """Allocated and, on a GPU, reserved bytes over time."""
    rows = [
        {
            "ms": point.at_s * 1e3,
            "mib": size / 2**20,
            "what": what,
            "size": units.memory(size),
            "at": units.seconds(point.at_s),
        }
        for point in track.points
        for what, size in (
            ("allocated", point.allocated_bytes),
            ("reserved", point.reserved_bytes),
        )
        if size is not None
    ]
    return _over_time(rows, {"allocated": BLUE, "reserved": GREY}, "step-after", zero=True)


def resident_chart(track: MemoryTrack) -> Spec:
    """The process's resident memory over time."""
    rows = [
        {
            "ms": point.at_s * 1e3,
            "mib": point.allocated_bytes / 2**20,
            "what": "resident",
            "size": units.memory(point.allocated_bytes),
            "at": units.seconds(point.at_s),
        }
        for point in track.resident
    ]
    return _over_time(rows, {"resident": BLUE}, "linear", zero=False)


def _over_time(
    rows: list[Row], colours: dict[str, str], interpolate: Interpolation, *, zero: bool
) -> Spec:
    shown = {what: hue for what, hue in colours.items() if any(r["what"] == what for r in rows)}
    line = (
        chart_of(rows)
        .mark_line(interpolate=interpolate, strokeWidth=1.5, point={"size": 14, "opacity": 0.6})
        .encode(
            x=alt.X("ms:Q", title="time since the first phase began, ms"),
            y=alt.Y("mib:Q", title="MiB", scale=alt.Scale(zero=zero), axis=alt.Axis(tickCount=5)),
            color=coloured(
                "what", shown, title=None, legend=alt.Legend() if len(shown) > 1 else None
            ),
            tooltip=tooltips("what, size, at"),
        )
    )
    return finished(line, height=200)


_ROW = 18  # pixels
_DEEPEST = 12  # rows below are inside of what is drawn
_LEAST = 0.0004  # of the pass: a third of a pixel
_COLOURS = {"region": BLUE, "operator": ORANGE, "runtime": GREY}


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
    tooltip = tooltips("name, kind, time, share: of the pass, at: began at")
    boxes = (
        chart_of(rows)
        .mark_rect(cornerRadius=1)
        .encode(
            x=x,
            x2="end:Q",
            y=top,
            y2="bottom:Q",
            color=coloured("kind", _COLOURS, legend=None),
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
