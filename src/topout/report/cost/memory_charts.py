"""What a model keeps in memory, as charts: what has to fit, how the KV cache grows, training."""

import math
from typing import Any

import altair as alt

from topout import units
from topout.records import CostReport, CostWorkload, MachineCost, TrainingMemory
from topout.report.charts.labels import apart
from topout.report.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    SKY,
    VALUE_MARGIN,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    own_colours,
    tooltips,
)
from topout.report.cost.memory_tables import RECOMPUTED
from topout.report.cost.words import placed
from topout.report.document import Chart

_GIB = 2**30
_HEIGHT = 300
_MEMORY = (
    "Weights and KV cache of one device, at the batch and context asked for, as a share of its "
    "memory, which is the light bar behind. Activations and what the system takes come on top."
)
_CACHE = "Both axes are logarithmic. Dashed: what the weights leave free on each machine."
_TRAINING = (
    "What one device holds in a training step, for each choice of what is computed again "
    "in the backward pass and of what ZeRO divides. Grey: the memory of each machine, "
    "where it is not far larger."
)


def memory_charts(report: CostReport) -> list[Chart]:
    """What generation keeps in memory, where it keeps anything."""
    charts = []
    if has_memory(report):
        charts.append(Chart("memory", "What has to fit", _MEMORY, memory_fit_chart(report)))
    if has_cache_table(report):
        charts.append(Chart("kv_cache", "How the KV cache grows", _CACHE, cache_chart(report)))
    return charts


def training_charts(report: CostReport) -> list[Chart]:
    """What training keeps in memory."""
    if not report.memory.training:
        return []
    chart = training_memory_chart(report)
    return [Chart("training_memory", "What training keeps", _TRAINING, chart)]


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
            scale=alt.Scale(domain=batches, range=list(own_colours(map(str, batches)).values())),
        ),
        tooltip=[
            alt.Tooltip("batch:O"),
            alt.Tooltip("context:Q", format="d"),
            *tooltips("size: KV cache"),
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
    tooltip = tooltips("machines: room beside the weights")
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


_FITTED = {"weights": BLUE, "KV cache": GREEN}
_STEP = 40  # pixels per machine
_BAR = 20
_MOST = 2.5  # times the memory: what needs more runs out of the picture


def has_memory(report: CostReport) -> bool:
    """Whether there is a cache to show, and a memory to hold it."""
    fits = any(machine.fit is not None for machine in placed(report))
    return fits and report.memory.kv_cache_bytes is not None


def memory_fit_chart(report: CostReport) -> Spec:
    """A bar for each machine: weights, then KV cache, as shares of its memory (light behind)."""
    machines = [machine for machine in placed(report) if machine.fit is not None]
    parts = [part for machine in machines for part in _fitted(report, machine)]
    widest = min(_MOST, max([1.0, *(part["end"] for part in parts)])) * 1.01
    order = [machine.name for machine in machines]
    x = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, widest], nice=False),
        title="of the memory of one device",
        axis=alt.Axis(format="%", tickCount=6),
    )
    y = names_axis("machine", order, 170)
    behind = [{"machine": name, "start": 0.0, "end": 1.0} for name in order]
    ends = [_end(report, machine, widest) for machine in machines]
    layers = alt.layer(
        chart_of(behind)
        .mark_bar(height=_BAR + 10, color=GREY, opacity=0.22)
        .encode(x=x, x2="end:Q", y=y),
        chart_of(parts)
        .mark_bar(height=_BAR, opacity=0.9, clip=True)
        .encode(
            x=x,
            x2="end:Q",
            y=y,
            color=coloured("part", _FITTED, title=None),
            tooltip=[
                *tooltips("machine, part, size"),
                alt.Tooltip("share:Q", format=".1%", title="of its memory"),
            ],
        ),
        chart_of(ends).mark_text(align="left", dx=6).encode(x="at:Q", y=y, text="value:N"),
    )
    return finished(layers, height=_STEP * len(machines), padding=VALUE_MARGIN)


def kv_bytes_per_device(report: CostReport) -> int:
    """The KV cache as asked, on one of the devices that share it.

    Tensor parallelism splits it by heads: of fewer heads than devices, each is kept more than
    once. Pipeline stages keep that of their own blocks.
    """
    work, heads = report.workload, report.model.kv_heads
    whole = report.memory.kv_cache_bytes or 0
    split = _heads_share(work, heads) if heads else 1.0 / max(1, work.tensor_parallel)
    return round(whole * split / max(1, work.pipeline_parallel))


def _heads_share(work: CostWorkload, heads: int) -> float:
    return -(-heads // max(1, work.tensor_parallel)) / heads


def _fitted(report: CostReport, machine: MachineCost) -> list[Row]:
    assert machine.fit is not None
    memory, start, parts = machine.fit.memory_bytes or 1, 0.0, []
    sizes = (machine.fit.weight_bytes, kv_bytes_per_device(report))
    for part, size in zip(_FITTED, sizes, strict=True):
        end = start + size / memory
        parts.append(
            {
                "machine": machine.name,
                "part": part,
                "size": units.memory(size),
                "share": size / memory,
                "start": start,
                "end": end,
            }
        )
        start = end
    return parts


def _end(report: CostReport, machine: MachineCost, widest: float) -> Row:
    assert machine.fit is not None
    needed = machine.fit.weight_bytes + kv_bytes_per_device(report)
    memory = machine.fit.memory_bytes
    verdict = "" if machine.fit.fits else ", does not fit"
    return {
        "machine": machine.name,
        "at": min(widest, max(1.0, needed / (memory or 1))),
        "value": f"{units.memory(needed)} of {units.memory(memory)}{verdict}",
    }


_TRAINED = {
    "weights": BLUE,
    "gradients": ORANGE,
    "optimizer": PINK,
    "activations": GREEN,
    "errors": SKY,
}

_BEYOND = 1.35  # a memory that much larger than the longest bar is not drawn


def training_memory_chart(report: CostReport) -> Spec:
    """GiB of weights, gradients, optimizer states and activations; grey: the machines' memories."""
    choices = report.memory.training
    parts = [part for choice in choices for part in _trained(choice)]
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
    y = names_axis("row", order, 230)
    bars = (
        chart_of(parts)
        .mark_bar(height=16, opacity=0.9)
        .encode(
            x=x,
            y=y,
            order=alt.Order("rank:Q"),
            color=coloured("part", _TRAINED, title=None),
            tooltip=tooltips("row: choice, part, size"),
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


def _trained(choice: TrainingMemory) -> list[Row]:
    sizes = {
        "weights": choice.weights_bytes,
        "gradients": choice.gradients_bytes,
        "optimizer": choice.optimizer_bytes,
        "activations": choice.activations_bytes,
        "errors": choice.errors_bytes,
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
