"""What is asked of each machine's memory: weights and KV cache of one device as parts of it."""

from typing import Any

import altair as alt

from topout import units
from topout.records import CostReport, CostWorkload, MachineCost
from topout.report.charts.theme import BLUE, GREEN, GREY, VALUE_MARGIN, Spec, chart_of, finished
from topout.report.cost.words import placed

_PARTS = {"weights": BLUE, "KV cache": GREEN}
_STEP = 40  # pixels per machine
_BAR = 20
_MOST = 2.5  # times the memory: what needs more runs out of the picture

Row = dict[str, Any]


def has_memory(report: CostReport) -> bool:
    """Whether there is a cache to show, and a memory to hold it."""
    fits = any(machine.fit is not None for machine in placed(report))
    return fits and report.memory.kv_cache_bytes is not None


def memory_fit_chart(report: CostReport) -> Spec:
    """A bar for each machine: weights, then KV cache, as shares of its memory (light behind)."""
    machines = [machine for machine in placed(report) if machine.fit is not None]
    parts = [part for machine in machines for part in _parts(report, machine)]
    widest = min(_MOST, max([1.0, *(part["end"] for part in parts)])) * 1.01
    order = [machine.name for machine in machines]
    x = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, widest], nice=False),
        title="of the memory of one device",
        axis=alt.Axis(format="%", tickCount=6),
    )
    y = alt.Y("machine:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, grid=False))
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
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=list(_PARTS), range=list(_PARTS.values())),
            ),
            tooltip=[
                alt.Tooltip("machine:N"),
                alt.Tooltip("part:N"),
                alt.Tooltip("size:N"),
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


def _parts(report: CostReport, machine: MachineCost) -> list[Row]:
    assert machine.fit is not None
    memory, start, parts = machine.fit.memory_bytes or 1, 0.0, []
    sizes = (machine.fit.weight_bytes, kv_bytes_per_device(report))
    for part, size in zip(_PARTS, sizes, strict=True):
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
