"""Memory of the devices over time: allocated, and what the allocator holds from the device."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from topout import units
from topout.records import DeviceTime, MemoryPoint
from topout.report.charts.theme import BLUE, GREEN, ORANGE, PINK, chart_of, finished
from topout.report.document import Chart
from topout.report.trace.bars import choice_words, chosen, legend_columns, time_unit
from topout.report.trace.names import device_labels

_COLOURS = [BLUE, ORANGE, GREEN, PINK]
_MOST_POINTS = 300  # of a line; of more, the highest of each stretch
_HEIGHT = 260
_KINDS = {"allocated": "allocated_bytes", "reserved": "reserved_bytes"}

Row = dict[str, Any]


def memory_chart(ranks: Sequence[DeviceTime]) -> Chart | None:
    """A line for each device and kind of memory; None where no trace tells of memory."""
    known = [pair for pair in zip(device_labels(ranks), ranks, strict=True) if pair[1].memory]
    if not known:
        return None
    peaks = [max(point.allocated_bytes for point in each.memory) for _, each in known]
    shown = [known[place] for place in chosen(peaks, len(_COLOURS))]
    longest = max(point.at_s for _, each in shown for point in each.memory)
    highest = max(
        max(point.allocated_bytes, point.reserved_bytes or 0)
        for _, each in shown
        for point in each.memory
    )
    scale, unit = time_unit(longest)
    size, prefix = _size_unit(highest)
    rows = [row for label, each in shown for row in _rows(label, thinned(each.memory), scale, size)]
    labels = [label for label, _ in shown]
    kinds = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    chart = (
        chart_of(rows)
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(
            x=alt.X("at:Q", title=unit, axis=alt.Axis(tickCount=6), scale=alt.Scale(nice=False)),
            y=alt.Y("size:Q", title=prefix, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "device:N",
                title=None,
                sort=labels,
                scale=alt.Scale(domain=labels, range=_COLOURS[: len(labels)]),
                legend=_legend(labels),
            ),
            strokeDash=alt.StrokeDash(
                "kind:N",
                title=None,
                sort=kinds,
                scale=alt.Scale(domain=kinds, range=[[1, 0], [5, 4]][: len(kinds)]),
                legend=_legend(kinds),
            ),
            tooltip=[alt.Tooltip("device:N"), alt.Tooltip("kind:N"), alt.Tooltip("figure:N")],
        )
    )
    caption = (
        "Allocated: held by tensors. Reserved: taken from the device by PyTorch's allocator, "
        "which keeps it for later." + choice_words(len(shown), len(known))
    )
    return Chart("memory", "Memory over time", caption, finished(chart, height=_HEIGHT))


def thinned(points: Sequence[MemoryPoint], most: int = _MOST_POINTS) -> list[MemoryPoint]:
    """At most about `most` points: the highest of each stretch, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    step = -(-len(points) // most)
    stretches = [points[start : start + step] for start in range(0, len(points), step)]
    highest = [max(stretch, key=lambda point: point.allocated_bytes) for stretch in stretches]
    return [*highest, *([points[-1]] if highest[-1] is not points[-1] else [])]


def _legend(names: Sequence[str]) -> alt.Legend | None:
    if len(names) < 2:
        return None
    return alt.Legend(columns=max(1, legend_columns(names) // 2), symbolType="stroke")


def _size_unit(largest: int) -> tuple[float, str]:
    for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if largest >= 1024**power:
            return 1024.0**power, name
    return 1.0, "bytes"


def _rows(label: str, points: Sequence[MemoryPoint], scale: float, size: float) -> list[Row]:
    return [
        {
            "device": label,
            "kind": kind,
            "at": point.at_s / scale,
            "size": value / size,
            "figure": f"{units.memory(value)} at {units.seconds(point.at_s)}",
        }
        for kind, field in _KINDS.items()
        for point in points
        if (value := getattr(point, field)) is not None
    ]
