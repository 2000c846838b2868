"""Who sends how much to whom, as a map: a row for each sender, a column for each receiver."""

from typing import Any

import altair as alt

from topout import units
from topout.records import Communication, Transfer
from topout.report.charts.theme import BLUE, GREY, chart_of, finished
from topout.report.document import Chart
from topout.report.trace.names import HOST, place_label, places_of

_MOST_CELLS = 64  # a side; of more ends, neighbours share a cell
_MOST_FIGURES = 8  # ends up to which a cell has room for its figure
_HIGH, _LOW = 46, 9  # pixels of a row of few and of many
_TALLEST = 600

Row = dict[str, Any]


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
        tooltip=[
            alt.Tooltip("from:N"),
            alt.Tooltip("to:N"),
            alt.Tooltip("size:N", title="bytes"),
            alt.Tooltip("time:N"),
            alt.Tooltip("rate:N"),
            alt.Tooltip("calls:N"),
        ],
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
    return Chart("transfers", "Who sends how much to whom", _CAPTION + blocks.words(), spec)


_CAPTION = "Bytes from the row's device to the column's; the fuller the colour, the more."


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
    sums: dict[tuple[str, str], tuple[int, float, int]] = {}
    for each in transfers:
        cell = blocks.of(each.source), blocks.of(each.destination)
        size, time_s, calls = sums.get(cell, (0, 0.0, 0))
        sums[cell] = size + each.bytes, time_s + each.total_s, calls + each.calls
    most = max(size for size, _, _ in sums.values()) or 1
    return [
        {
            "from": source,
            "to": to,
            "shade": 0.12 + 0.88 * size / most,
            "size": units.si(size, "B"),
            "time": units.seconds(time_s),
            "rate": units.bytes_per_s(size / time_s if time_s > 0 else None),
            "calls": f"{calls:,}",
        }
        for (source, to), (size, time_s, calls) in sums.items()
    ]
