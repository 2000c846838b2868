"""The charts of a cost report that compare machines: how fast each is, where its time goes."""

import altair as alt

from topout import units
from topout.records import CostReport, MachineCost, OpCost, PhaseName
from topout.report.charts.labels import text_width
from topout.report.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VALUE_MARGIN,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    tooltips,
)
from topout.report.cost.words import (
    BOUNDS,
    PHASES,
    flops,
    intensity,
    phase_of,
    phase_title,
    placed,
    rate_interval,
    rate_name,
    rate_of,
    rate_phase,
    span,
    traffic,
)
from topout.report.document import Chart


def speed_charts(report: CostReport) -> list[Chart]:
    """The machines compared, and where the time of each phase goes, as far as times are known.

    The phase whose rate is compared comes first. Of one machine the rate is no chart.
    """
    charts = []
    phase = rate_phase(report)
    if phase is not None and len(placed(report)) > 1:
        charts.append(Chart("rates", "How fast", _RATES, rate_chart(report, phase)))
    caption = _TIMES  # once: the charts of the other phases are read alike
    for name in sorted(PHASES, key=lambda name: name != phase):
        if has_times(report, name):
            title = f"Where the time goes: {phase_title(report, name).lower()}"
            charts.append(Chart(f"time_{name}", title, caption, time_chart(report, name)))
            caption = ""
    return charts


_RATES = (
    "Bar: predicted. Line on the bar: the interval in which a measurement is expected. "
    "Colour: what most of the time is waited for."
)
_TIMES = (
    "Each part of a bar is an op, all its runs together, in the order in which they run; "
    "colour: which term of its time is the largest. All bars have the same length, and the "
    "predicted time stands at the end."
)


_RATE_STEP = 36  # pixels per machine
_RATE_BAR = 20


def rate_chart(report: CostReport, phase: PhaseName) -> Spec:
    """A bar for each machine, coloured by what bounds the phase; the line is the interval."""
    bars = [_bar(report, machine, phase) for machine in placed(report)]
    longest = max((bar["end"] for bar in bars), default=0.0) or 1.0
    scale = alt.Scale(domain=[0, longest * 1.02], nice=False)
    title = f"{'decode' if phase == 'decode' else 'forward'}, {rate_name(report, phase)}"
    x = alt.X("rate:Q", scale=scale, title=title, axis=alt.Axis(tickCount=6))
    order = [bar["machine"] for bar in bars]
    y = names_axis("machine", order, 170)
    tooltip = tooltips("machine, predicted, bound: bound by, reason")
    base = chart_of(bars)
    colour = _bound_colour(bars)
    layers = alt.layer(
        base.transform_filter("isValid(datum.rate)")
        .mark_bar(height=_RATE_BAR, opacity=0.9, cornerRadiusEnd=2)
        .encode(x=x, y=y, color=colour, tooltip=tooltip),
        base.mark_rule(color="currentColor", strokeWidth=1.6).encode(
            x="low:Q", x2="high:Q", y=y, tooltip=tooltip
        ),
        *(
            base.mark_tick(color="currentColor", thickness=1.6, size=9).encode(
                x=f"{end}:Q", y=y, tooltip=tooltip
            )
            for end in ("low", "high")
        ),
        base.mark_text(align="left", dx=9, fontWeight=600).encode(x="end:Q", y=y, text="value:N"),
    )
    return finished(layers, height=_RATE_STEP * len(bars), padding=VALUE_MARGIN)


def _bar(report: CostReport, machine: MachineCost, phase: PhaseName) -> Row:
    cost, rate = phase_of(machine, phase), rate_of(report, machine, phase)
    bar: Row = {
        "machine": machine.name,
        "bound": (cost.bound if cost else None) or "",
        "reason": (cost.reason if cost else None) or "",
        "predicted": units.ABSENT,
        "value": "not predicted",
        "end": 0.0,
    }
    if rate is None:
        return bar
    interval = rate_interval(report, machine, phase)
    shown = f"{units.significant(rate)} {rate_name(report, phase)}"
    bar |= {"rate": rate, "value": units.significant(rate), "end": rate, "predicted": shown}
    if interval is not None:
        bar |= {"low": interval.low, "high": interval.high, "end": max(rate, interval.high)}
        bar["predicted"] += f", expected in {span(interval, units.significant)}"
    return bar


BOUND_COLOURS = dict(zip(BOUNDS, (BLUE, ORANGE, GREY, GREEN, SKY), strict=True))
_TIME_STEP = 44  # pixels per machine
_TIME_BAR = 26  # of these that the bar takes
_SEEN = 0.005  # smaller parts are lines; the shades of the others take turns
_REASON = 90  # letters of a reason that are shown instead of a bar


def has_times(report: CostReport, phase: PhaseName) -> bool:
    """Whether the chart of this phase would show a bar."""
    return any(_timed(machine, phase) for machine in report.machines)


def time_chart(report: CostReport, phase: PhaseName) -> Spec:
    """Shares of the phase's time, op by op in the order in which they run, coloured by bound.

    Bars are of one length, so that fast machines can be read beside slow ones; the times stand
    at their ends.
    """
    machines = [machine for machine in placed(report) if phase_of(machine, phase)]
    parts = [part for machine in machines for part in _op_parts(machine, phase)]
    order = [machine.name for machine in machines]
    x = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, 1], nice=False),
        title="share of the time",
        axis=alt.Axis(format="%", tickCount=5),
    )
    y = names_axis("machine", order, 170)
    base = chart_of(parts)
    layers = alt.layer(
        base.mark_bar(height=_TIME_BAR).encode(
            x=x,
            x2="end:Q",
            y=y,
            color=_bound_colour(parts),
            opacity=alt.Opacity("shade:Q", scale=None, legend=None),
            tooltip=_TOOLTIP,
        ),
        # A name is shown where its part of the bar is wide enough, at the width of the screen.
        base.mark_text(color="white", fontSize=11, fontWeight=600).encode(
            x=alt.X("middle:Q"),
            y=y,
            text="op:N",
            opacity=alt.condition("datum.share * width > datum.needed", alt.value(1), alt.value(0)),
            tooltip=_TOOLTIP,
        ),
        chart_of([_end(machine, phase) for machine in machines])
        .mark_text(align="left", dx=6, fontWeight=600)
        .encode(x=alt.X("at:Q"), y=y, text="value:N"),
    )
    return finished(layers, height=_TIME_STEP * len(machines), padding=VALUE_MARGIN)


def _bound_colour(parts: list[Row]) -> alt.Color:
    """The colours of what bounds ops and phases, those that occur."""
    present = {part["bound"] for part in parts}
    shown = {bound: colour for bound, colour in BOUND_COLOURS.items() if bound in present}
    return coloured("bound", shown, title="bound by")


_TOOLTIP = [
    *tooltips("machine, op, shape, runs, time"),
    alt.Tooltip("share:Q", format=".1%"),
    *tooltips("bound, work, moved: bytes, intensity"),
]


def _op_parts(machine: MachineCost, phase: PhaseName) -> list[Row]:
    ops = _timed(machine, phase)
    whole = sum(op.time_s or 0.0 for op in ops) or 1.0
    parts, start, seen = [], 0.0, 0
    for op in ops:
        share = (op.time_s or 0.0) / whole
        parts.append(_op_part(machine, op, seen, start, share))
        start += share
        seen += share > _SEEN
    return parts


def _op_part(machine: MachineCost, op: OpCost, seen: int, start: float, share: float) -> Row:
    return {
        "machine": machine.name,
        "op": op.name,
        "shape": op.shape,
        "runs": f"{op.count} ×",
        "time": units.seconds(op.time_s),
        "share": share,
        "start": start,
        "middle": start + share / 2,
        "end": start + share,
        "shade": 1.0 if seen % 2 == 0 else 0.84,
        "needed": text_width(op.name) + 10,
        "bound": op.bound or "",
        "work": flops(op.flops),
        "moved": traffic(op.bytes),
        "intensity": f"{intensity(op.arithmetic_intensity)} FLOP/byte",
    }


def _end(machine: MachineCost, phase: PhaseName) -> Row:
    cost = phase_of(machine, phase)
    if cost is not None and cost.time_s is not None:
        value, at = units.seconds(cost.time_s), 1.0
    else:
        reason = (cost.reason if cost else None) or "no time is predicted"
        value, at = reason if len(reason) <= _REASON else f"{reason[: _REASON - 1]}…", 0.0
    return {"machine": machine.name, "value": value, "at": at}


def _timed(machine: MachineCost, phase: PhaseName) -> list[OpCost]:
    return [op for op in machine.ops if op.phase == phase and op.time_s is not None]
