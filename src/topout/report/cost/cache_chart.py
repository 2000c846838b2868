"""The KV cache over context and batch, and the memory that each machine has left for it."""

import math
from typing import Any

import altair as alt

from topout import units
from topout.records import CostReport
from topout.report.charts.labels import apart
from topout.report.charts.theme import RUNG_COLOURS, VALUE_MARGIN, Spec, chart_of, finished
from topout.report.cost.words import placed

_GIB = 2**30
_HEIGHT = 300

Row = dict[str, Any]


def has_cache_table(report: CostReport) -> bool:
    """Whether there are sizes at two contexts at least, so that there is a line to draw."""
    return len({point["context"] for point in _points(report)}) > 1


def cache_chart(report: CostReport) -> Spec:
    """GiB of KV cache by context, a line for each batch size; dashed: room beside the weights."""
    points = _points(report)
    rooms = _rooms(report)
    contexts = [point["context"] for point in points]
    sizes = [point["gib"] for point in points] + [room["gib"] for room in rooms]
    batches = sorted({point["batch"] for point in points})
    colours = RUNG_COLOURS[1:]
    base = chart_of(points).encode(
        x=alt.X(
            "context:Q",
            title="context, tokens",
            scale=alt.Scale(type="log", base=2, domain=[min(contexts), max(contexts)], nice=False),
            axis=alt.Axis(values=sorted(set(contexts)), format="d"),
        ),
        y=alt.Y(
            "gib:Q",
            title="KV cache, GiB",
            scale=alt.Scale(type="log", domain=[min(sizes) / 1.3, max(sizes) * 1.3], nice=False),
            axis=alt.Axis(values=_decades(sizes), format="~g"),
        ),
        color=alt.Color(
            "batch:O",
            title="batch",
            scale=alt.Scale(
                domain=batches, range=[colours[n % len(colours)] for n in range(len(batches))]
            ),
        ),
        tooltip=[
            alt.Tooltip("batch:O"),
            alt.Tooltip("context:Q", format="d"),
            alt.Tooltip("size:N", title="KV cache"),
        ],
    )
    layers = alt.layer(
        base.mark_line(strokeWidth=2),
        base.mark_point(size=40, filled=True, opacity=1),
        *_rules(rooms, min(sizes) / 1.3, max(sizes) * 1.3),
    )
    return finished(layers, height=_HEIGHT, padding=VALUE_MARGIN)


def _points(report: CostReport) -> list[Row]:
    return [
        {
            "batch": int(batch),
            "context": int(context),
            "gib": size / _GIB,
            "size": units.memory(size),
        }
        for batch, row in report.memory.kv_table.items()
        for context, size in row.items()
        if batch.isdecimal() and context.isdecimal() and int(context) > 0 and size > 0
    ]


def _rooms(report: CostReport) -> list[Row]:
    """What the weights leave free; of a split model the table is not that of one device."""
    if report.workload.tensor_parallel * report.workload.pipeline_parallel > 1:
        return []
    left: dict[int, list[str]] = {}
    for machine in placed(report):
        if machine.fit is not None and machine.fit.memory_bytes > machine.fit.weight_bytes:
            room = machine.fit.memory_bytes - machine.fit.weight_bytes
            left.setdefault(room, []).append(machine.name)
    return [
        {"gib": room / _GIB, "machines": f"{', '.join(names)}: {units.memory(room)}"}
        for room, names in sorted(left.items())
    ]


def _decades(sizes: list[float]) -> list[float]:
    """Powers of ten from the smallest size to the largest."""
    first, last = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))
    return [10.0**power for power in range(first, last + 1)]


def _rules(rooms: list[Row], lowest: float, highest: float) -> list[Any]:
    if not rooms:
        return []
    heights = [_pixels(room["gib"], lowest, highest) for room in rooms]
    placed_at = apart(heights, 14.0)
    labelled = [
        {**room, "y": _HEIGHT - height} for room, height in zip(rooms, placed_at, strict=True)
    ]
    tooltip = [alt.Tooltip("machines:N", title="room beside the weights")]
    return [
        chart_of(rooms)
        .mark_rule(strokeDash=[5, 4], strokeWidth=1.3, color="currentColor", opacity=0.7)
        .encode(y="gib:Q", tooltip=tooltip),
        chart_of(labelled)
        .mark_text(align="left", baseline="middle", dx=8, fontSize=11, limit=230)
        .encode(x=alt.value("width"), y=alt.Y("y:Q", scale=None), text="machines:N"),
    ]


def _pixels(gib: float, lowest: float, highest: float) -> float:
    """Pixels above the axis of a size on the logarithmic scale."""
    return _HEIGHT * math.log(gib / lowest) / math.log(highest / lowest)
