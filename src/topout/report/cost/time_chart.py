"""Where a phase's time goes: a bar for each machine, its ops one after another as the parts."""

from typing import Any

import altair as alt

from topout import units
from topout.records import CostReport, MachineCost, OpCost, PhaseName
from topout.report.charts.labels import text_width
from topout.report.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VALUE_MARGIN,
    Spec,
    chart_of,
    finished,
)
from topout.report.cost.words import BOUNDS, flops, intensity, phase_of, placed, traffic

BOUND_COLOURS = dict(zip(BOUNDS, (BLUE, ORANGE, GREY, GREEN), strict=True))
_STEP = 44  # pixels per machine
_BAR = 26  # of these that the bar takes
_SEEN = 0.005  # smaller parts are lines; the shades of the others take turns
_REASON = 90  # letters of a reason that are shown instead of a bar

Row = dict[str, Any]


def has_times(report: CostReport, phase: PhaseName) -> bool:
    """Whether the chart of this phase would show a bar."""
    return any(_timed(machine, phase) for machine in report.machines)


def time_chart(report: CostReport, phase: PhaseName) -> Spec:
    """Shares of the phase's time, op by op in the order in which they run, coloured by bound.

    Bars are of one length, so that fast machines can be read beside slow ones; the times stand
    at their ends.
    """
    machines = [machine for machine in placed(report) if phase_of(machine, phase)]
    parts = [part for machine in machines for part in _parts(machine, phase)]
    order = [machine.name for machine in machines]
    x = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, 1], nice=False),
        title="share of the time",
        axis=alt.Axis(format="%", tickCount=5),
    )
    y = alt.Y("machine:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, grid=False))
    base = chart_of(parts)
    layers = alt.layer(
        base.mark_bar(height=_BAR).encode(
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
    return finished(layers, height=_STEP * len(machines), padding=VALUE_MARGIN)


def bound_scale(bounds: set[str]) -> alt.Scale:
    """The colours of what bounds ops and phases, those that occur."""
    shown = [bound for bound in BOUNDS if bound in bounds]
    return alt.Scale(domain=shown, range=[BOUND_COLOURS[bound] for bound in shown])


_TOOLTIP = [
    alt.Tooltip("machine:N"),
    alt.Tooltip("op:N"),
    alt.Tooltip("shape:N"),
    alt.Tooltip("runs:N"),
    alt.Tooltip("time:N"),
    alt.Tooltip("share:Q", format=".1%"),
    alt.Tooltip("bound:N"),
    alt.Tooltip("work:N"),
    alt.Tooltip("moved:N", title="bytes"),
    alt.Tooltip("intensity:N"),
]


def _parts(machine: MachineCost, phase: PhaseName) -> list[Row]:
    ops = _timed(machine, phase)
    whole = sum(op.time_s or 0.0 for op in ops) or 1.0
    parts, start, seen = [], 0.0, 0
    for op in ops:
        share = (op.time_s or 0.0) / whole
        parts.append(_part(machine, op, seen, start, share))
        start += share
        seen += share > _SEEN
    return parts


def _part(machine: MachineCost, op: OpCost, seen: int, start: float, share: float) -> Row:
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


def _bound_colour(parts: list[Row]) -> alt.Color:
    scale = bound_scale({part["bound"] for part in parts})
    return alt.Color("bound:N", title="bound by", scale=scale)
