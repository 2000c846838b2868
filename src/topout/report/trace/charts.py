"""The charts of a trace and of two: who sends how much to whom, memory, what got slower."""

from collections.abc import Sequence

import altair as alt

from topout import units
from topout.records import (
    Communication,
    DeviceTime,
    GroupChange,
    MemoryPoint,
    TraceReport,
    Transfer,
)
from topout.report.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    tooltips,
)
from topout.report.document import Chart
from topout.report.trace.bars import choice_words, chosen, legend_columns, time_unit
from topout.report.trace.measures import (
    HOST,
    device_labels,
    largest_changes,
    place_label,
    places_of,
    short_names,
    signed,
)
from topout.report.trace.time_charts import time_charts, waiting_chart


def trace_charts(report: TraceReport) -> dict[str, Chart]:
    """The charts that the report has the figures for by their keys, in the order of reading."""
    made = [
        *time_charts(report.ranks),
        transfer_chart(report.communication),
        waiting_chart(report.communication),
        memory_chart(report.ranks),
    ]
    return {chart.key: chart for chart in made if chart is not None}


_MOST_CELLS = 64  # a side; of more ends, neighbours share a cell
_MOST_FIGURES = 8  # ends up to which a cell has room for its figure
_HIGH, _LOW = 46, 9  # pixels of a row of few and of many
_TALLEST = 600


def transfer_chart(communication: Communication) -> Chart | None:
    """The map of bytes; None where nothing was sent."""
    ends = places_of(communication.transfers)
    if not ends:
        return None
    blocks = _Blocks(ends, communication.unit)
    rows = _cells(communication.transfers, blocks)
    names = blocks.names()
    height = max(_LOW, min(_HIGH, _TALLEST // len(names)))
    base = chart_of(rows).encode(
        x=alt.X("to:N", sort=names, title="to", scale=_domain(names), axis=_axis()),
        y=alt.Y("from:N", sort=names, title="from", scale=_domain(names), axis=_axis()),
        tooltip=tooltips("from, to, size: bytes, time, rate, calls"),
    )
    # One hue from faint to full, which reads on light and dark paper alike.
    cells = base.mark_rect(color=BLUE, stroke=GREY, strokeOpacity=0.35).encode(
        opacity=alt.Opacity("shade:Q", scale=None)
    )
    layers = [cells]
    if len(names) <= _MOST_FIGURES:
        figures = base.mark_text(fontSize=12).encode(
            text="size:N",
            color=alt.condition("datum.shade > 0.6", alt.value("white"), alt.value("currentColor")),
        )
        layers.append(figures)
    spec = finished(alt.layer(*layers), height=height * len(names))
    return Chart("transfers", "Who sends how much to whom", _TRANSFERS + blocks.words(), spec)


_TRANSFERS = "Bytes from the row's device to the column's; the fuller the colour, the more."


def _domain(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names)


def _axis() -> alt.Axis:
    return alt.Axis(labelOverlap="greedy", labelLimit=110, grid=False, labelAngle=0)


class _Blocks:
    """The cells of a side: one for each end, or for several neighbours where they are many."""

    def __init__(self, ends: list[int], unit: str) -> None:
        self._ends = ends
        self._unit = unit
        self._devices = [end for end in ends if end != HOST]
        self._size = -(-len(self._devices) // _MOST_CELLS) or 1

    def of(self, end: int) -> str:
        """The name of the cell that an end belongs to."""
        if end == HOST or self._size == 1:
            return place_label(end, self._unit)
        first = self._devices.index(end) // self._size * self._size
        members = self._devices[first : first + self._size]
        return f"{place_label(members[0], self._unit)}–{members[-1]}"

    def names(self) -> list[str]:
        """All cells of a side in order."""
        return list(dict.fromkeys(self.of(end) for end in self._ends))

    def words(self) -> str:
        """What the caption says of cells that several ends share."""
        if self._size == 1:
            return ""
        return f" {self._size} neighbours of {len(self._devices)} share a row and a column."


def _cells(transfers: list[Transfer], blocks: _Blocks) -> list[Row]:
    sums: dict[tuple[str, str], tuple[int | None, float, int]] = {}
    for each in transfers:
        cell = blocks.of(each.source), blocks.of(each.destination)
        size, time_s, calls = sums.get(cell, (None, 0.0, 0))
        if each.bytes is not None:
            size = (size or 0) + each.bytes
        sums[cell] = size, time_s + each.total_s, calls + each.calls
    most = max(size or 0 for size, _, _ in sums.values()) or 1
    return [
        {
            "from": source,
            "to": to,
            "shade": 0.12 + 0.88 * (size or 0) / most,
            "size": units.si(size, "B"),
            "time": units.seconds(time_s),
            "rate": units.bytes_per_s(size / time_s if size is not None and time_s > 0 else None),
            "calls": f"{calls:,}",
        }
        for (source, to), (size, time_s, calls) in sums.items()
    ]


_DEVICE_COLOURS = [BLUE, ORANGE, GREEN, PINK]
_MOST_POINTS = 300  # of a line; of more, the highest of each stretch
_HEIGHT = 260
_KINDS = {"allocated": "allocated_bytes", "reserved": "reserved_bytes"}


def memory_chart(ranks: Sequence[DeviceTime]) -> Chart | None:
    """A line for each device and kind of memory; None where no trace tells of memory."""
    known = [pair for pair in zip(device_labels(ranks), ranks, strict=True) if pair[1].memory]
    if not known:
        return None
    peaks = [max(point.allocated_bytes for point in each.memory) for _, each in known]
    shown = [known[place] for place in chosen(peaks, len(_DEVICE_COLOURS))]
    longest = max(point.at_s for _, each in shown for point in each.memory)
    highest = max(
        max(point.allocated_bytes, point.reserved_bytes or 0)
        for _, each in shown
        for point in each.memory
    )
    scale, unit = time_unit(longest)
    size, prefix = _size_unit(highest)
    rows = [
        row
        for label, each in shown
        for row in _memory_rows(label, thinned(each.memory), scale, size)
    ]
    labels = [label for label, _ in shown]
    hues = dict(zip(labels, _DEVICE_COLOURS, strict=False))
    kinds = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    chart = (
        chart_of(rows)
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(
            x=alt.X("at:Q", title=unit, axis=alt.Axis(tickCount=6), scale=alt.Scale(nice=False)),
            y=alt.Y("size:Q", title=prefix, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5)),
            color=coloured("device", hues, title=None, sort=labels, legend=_legend(labels)),
            strokeDash=alt.StrokeDash(
                "kind:N",
                title=None,
                sort=kinds,
                scale=alt.Scale(domain=kinds, range=[[1, 0], [5, 4]][: len(kinds)]),
                legend=_legend(kinds),
            ),
            tooltip=tooltips("device, kind, figure"),
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


def _memory_rows(label: str, points: Sequence[MemoryPoint], scale: float, size: float) -> list[Row]:
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


_CHANGE_COLOURS = {"slower": ORANGE, "faster": BLUE}
_STEP = 28  # pixels of a bar
_MARGIN = {"left": 16, "top": 4, "right": 4, "bottom": 4}
_FIGURE = 48  # pixels of the figure at the end of the longest bar
_LONGEST = 24  # letters of a name beside the bars


_CHANGES = "Time after less time before: to the right what got slower, to the left what got faster."


def change_chart(key: str, title: str, changes: Sequence[GroupChange], most: int) -> Chart:
    """A bar for each of the `most` largest changes, by its sign to the left or right of zero."""
    cut = f" The {most} that changed most." if len(changes) > most else ""
    return Chart(key, title, _CHANGES + cut, change_bars(changes, most))


def change_bars(changes: Sequence[GroupChange], most: int) -> Spec:
    """The spec of the chart."""
    shown = [each for each in largest_changes(changes, most) if each.change_s]
    shown.sort(key=lambda each: -each.change_s)
    extent = max((abs(each.change_s) for each in shown), default=0.0)
    scale, unit = time_unit(extent)
    short = short_names((each.name for each in shown), _LONGEST)
    rows = [_change_row(each, scale, short[each.name]) for each in shown]
    y = names_axis("label", [row["label"] for row in rows], 165)
    base = chart_of(rows)
    bars = base.mark_bar(height=_STEP * 0.66).encode(
        x=alt.X(
            "change:Q",
            title=f"change, {unit}",
            scale=alt.Scale(zero=True, nice=False, padding=_FIGURE),
            axis=alt.Axis(tickCount=6),
        ),
        y=y,
        color=coloured("kind", _CHANGE_COLOURS, title=None),
        tooltip=[*tooltips("name, before, after"), alt.Tooltip("figure:N", title="change, ms")],
    )
    right = base.mark_text(align="left", dx=5).encode(x="change:Q", y=y, text="figure:N")
    left = base.mark_text(align="right", dx=-5).encode(x="change:Q", y=y, text="figure:N")
    layers = alt.layer(
        bars,
        right.transform_filter("datum.change > 0"),
        left.transform_filter("datum.change < 0"),
    )
    return finished(layers, height=_STEP * max(1, len(rows)), padding=_MARGIN)


def _change_row(each: GroupChange, scale: float, label: str) -> Row:
    return {
        "label": label,
        "name": each.name,
        "change": each.change_s / scale,
        "kind": "slower" if each.change_s > 0 else "faster",
        "before": units.seconds(each.before_s),
        "after": units.seconds(each.after_s),
        "figure": signed(each.change_s),
    }
