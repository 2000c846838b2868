"""Tokens (sequences, images) per second of every machine, with how sure the prediction is."""

from typing import Any

import altair as alt

from topout import units
from topout.records import CostReport, MachineCost, PhaseName
from topout.report.charts.theme import VALUE_MARGIN, Spec, chart_of, finished
from topout.report.cost.time_chart import bound_scale
from topout.report.cost.words import phase_of, placed, rate_interval, rate_name, rate_of, span

_STEP = 36  # pixels per machine
_BAR = 20

Row = dict[str, Any]


def rate_chart(report: CostReport, phase: PhaseName) -> Spec:
    """A bar for each machine, coloured by what bounds the phase; the line is the interval."""
    bars = [_bar(report, machine, phase) for machine in placed(report)]
    longest = max((bar["end"] for bar in bars), default=0.0) or 1.0
    scale = alt.Scale(domain=[0, longest * 1.02], nice=False)
    title = f"{'decode' if phase == 'decode' else 'forward'}, {rate_name(report, phase)}"
    x = alt.X("rate:Q", scale=scale, title=title, axis=alt.Axis(tickCount=6))
    order = [bar["machine"] for bar in bars]
    y = alt.Y("machine:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, grid=False))
    tooltip = [
        alt.Tooltip("machine:N"),
        alt.Tooltip("predicted:N"),
        alt.Tooltip("bound:N", title="bound by"),
        alt.Tooltip("reason:N"),
    ]
    base = chart_of(bars)
    colour = alt.Color(
        "bound:N", title="bound by", scale=bound_scale({bar["bound"] for bar in bars})
    )
    layers = alt.layer(
        base.transform_filter("isValid(datum.rate)")
        .mark_bar(height=_BAR, opacity=0.9, cornerRadiusEnd=2)
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
    return finished(layers, height=_STEP * len(bars), padding=VALUE_MARGIN)


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
