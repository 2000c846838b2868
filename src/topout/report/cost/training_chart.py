"""Memory of one device in training: stacked bars by recomputation and ZeRO stage."""

from typing import Any

import altair as alt

from topout import units
from topout.records import CostReport, TrainingMemory
from topout.report.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    VALUE_MARGIN,
    Spec,
    chart_of,
    finished,
)
from topout.report.cost.memory_tables import RECOMPUTED
from topout.report.cost.words import placed

_PARTS = {
    "weights": BLUE,
    "gradients": ORANGE,
    "optimizer": PINK,
    "activations": GREEN,
}
_GIB = 2**30
_BEYOND = 1.35  # a memory that much larger than the longest bar is not drawn

Row = dict[str, Any]


def training_memory_chart(report: CostReport) -> Spec:
    """GiB of weights, gradients, optimizer states and activations; grey: the machines' memories."""
    choices = report.memory.training
    parts = [part for choice in choices for part in _parts(choice)]
    totals = [_total(choice) for choice in choices]
    longest = max(total["gib"] for total in totals) or 1.0
    limits = _limits(report, longest)
    ends = [*totals, *limits]
    scale = alt.Scale(domain=[0, max(end["gib"] for end in ends) or 1.0], nice=False)
    x = alt.X(
        "gib:Q",
        stack="zero",
        scale=scale,
        title="memory of one device, GiB",
        axis=alt.Axis(tickCount=6),
    )
    order = [end["row"] for end in ends]
    y = alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelLimit=230, grid=False))
    bars = (
        chart_of(parts)
        .mark_bar(height=16, opacity=0.9)
        .encode(
            x=x,
            y=y,
            order=alt.Order("rank:Q"),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=list(_PARTS), range=list(_PARTS.values())),
            ),
            tooltip=[
                alt.Tooltip("row:N", title="choice"),
                alt.Tooltip("part:N"),
                alt.Tooltip("size:N"),
            ],
        )
    )
    text = chart_of(ends).mark_text(align="left", dx=6).encode(x="gib:Q", y=y, text="value:N")
    layers = alt.layer(bars, *_memories(limits, x, y), text)
    return finished(layers, height=26 * len(ends), padding=VALUE_MARGIN)


def _total(choice: TrainingMemory) -> Row:
    return {
        "row": _label(choice),
        "gib": choice.total_bytes / _GIB,
        "value": units.memory(choice.total_bytes),
    }


def _parts(choice: TrainingMemory) -> list[Row]:
    sizes = {
        "weights": choice.weights_bytes,
        "gradients": choice.gradients_bytes,
        "optimizer": choice.optimizer_bytes,
        "activations": choice.activations_bytes,
    }
    return [
        {
            "row": _label(choice),
            "part": part,
            "rank": rank,
            "gib": size / _GIB,
            "size": units.memory(size),
        }
        for rank, (part, size) in enumerate(sizes.items())
    ]


def _label(choice: TrainingMemory) -> str:
    return f"recompute {RECOMPUTED[choice.recompute]}, ZeRO {choice.zero_stage}"


def _limits(report: CostReport, longest: float) -> list[Row]:
    """The machines' memories that the picture has room for; equal ones together."""
    names: dict[int, list[str]] = {}
    for machine in placed(report):
        assert machine.hardware is not None
        names.setdefault(machine.hardware.memory_bytes, []).append(machine.name)
    return [
        {"gib": size / _GIB, "row": f"memory of {', '.join(of)}", "value": units.memory(size)}
        for size, of in sorted(names.items())
        if size / _GIB <= longest * _BEYOND
    ]


def _memories(limits: list[Row], x: alt.X, y: alt.Y) -> list[Any]:
    """A grey bar for each memory below the others, and a dashed line up through them."""
    if not limits:
        return []
    base = chart_of(limits)
    return [
        base.mark_bar(height=16, color=GREY, opacity=0.45).encode(x=x, y=y),
        base.mark_rule(strokeDash=[5, 4], strokeWidth=1.3, color="currentColor").encode(x="gib:Q"),
    ]
