"""The five regions of a roofline, shaded and named: of one memory level and one data type."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from topout.report.charts.labels import LINE, Box, along, text_width
from topout.report.charts.theme import AMBER, BLUE, GREEN, GREY, PINK, chart_of
from topout.report.roofline.frame import WIDTH, Frame
from topout.roofline import POOR_BELOW

_FILLS = {
    "above the bandwidth roof": (PINK, 0.07),
    "above the compute roof": (AMBER, 0.09),
    "memory-bound": (BLUE, 0.14),
    "compute-bound": (GREEN, 0.14),
    "poor": (GREY, 0.09),
}
_BAND_MIDDLE = math.sqrt(POOR_BELOW)  # halfway between a roof and its half, on a log axis
_STYLE: dict[str, Any] = {"fontSize": 11, "fontStyle": "italic", "opacity": 0.75, "clip": True}


@dataclass(frozen=True, slots=True)
class Regions:
    """The two roofs that part the regions, in chart units: bandwidth as rate per FLOP/byte."""

    slope: float
    peak: float
    frame: Frame

    @property
    def ridge(self) -> float:
        """The arithmetic intensity where the roofs meet, or the frame's edge that is nearest."""
        left, right = self.frame.x_domain
        return min(max(self.peak / self.slope, left), right)

    def roof(self, intensity: float) -> float:
        """The attainable rate."""
        return min(self.peak, self.slope * intensity)


@dataclass(frozen=True, slots=True)
class _Name:
    """A region's name where it could stand."""

    text: str
    x: float
    y: float
    align: str = "left"
    rising: bool = False

    def boxes(self, frame: Frame) -> list[Box]:
        width = text_width(self.text)
        left = {"left": 0.0, "right": -width, "center": -width / 2}[self.align]
        if self.rising:
            return along(self.x, self.y, left, width, frame.slope)
        return [Box(self.x + left, self.y - LINE / 2, self.x + left + width, self.y + LINE / 2)]


def shade_layers(regions: Regions, x: alt.X, y: alt.Y) -> list[Any]:
    """The five regions as areas; "under half of both" is the poor one."""
    left, right = regions.frame.x_domain
    bottom, top = regions.frame.y_domain
    ridge = regions.ridge

    def area(name: str, edges: list[tuple[float, float, float]]) -> Any:
        colour, opacity = _FILLS[name]
        rows = [{"intensity": at, "low": low, "rate": high} for at, low, high in edges]
        mark = chart_of(rows).mark_area(color=colour, opacity=opacity, clip=True)
        return mark.encode(x=x, y=y, y2="low:Q", tooltip=alt.value(None))

    def band(*intensities: float) -> list[tuple[float, float, float]]:
        return [(at, regions.roof(at) * POOR_BELOW, regions.roof(at)) for at in intensities]

    def over(*intensities: float) -> list[tuple[float, float, float]]:
        return [(at, regions.roof(at), top) for at in intensities]

    poor = [(at, bottom, regions.roof(at) * POOR_BELOW) for at in (left, ridge, right)]
    return [
        area("above the bandwidth roof", over(left, ridge)),
        area("above the compute roof", over(ridge, right)),
        area("memory-bound", band(left, ridge)),
        area("compute-bound", band(ridge, right)),
        area("poor", poor),
    ]


def name_layers(
    regions: Regions, taken: Sequence[Box], x: alt.X, y: alt.Y
) -> tuple[list[Any], list[Box]]:
    """The regions' names where they cover the least of what is `taken`, and their own boxes."""
    frame = regions.frame
    layers, boxes = [], []
    for places in (*_corners(frame), _rising(regions), _bound(regions), _poor(regions)):
        if not places:
            continue
        best = min(places, key=lambda place: _covered(place.boxes(frame), taken))
        boxes += best.boxes(frame)
        layers.append(_text(best, frame, x, y))
    return layers, boxes


def _text(name: _Name, frame: Frame, x: alt.X, y: alt.Y) -> Any:
    intensity, rate = frame.values(name.x, name.y)
    row = {"intensity": intensity, "rate": rate, "text": name.text}
    look: dict[str, Any] = {**_STYLE, "align": name.align, "baseline": "middle"}
    if name.rising:
        look["angle"] = frame.slope_angle
    return chart_of([row]).mark_text(**look).encode(x=x, y=y, text="text:N")


def _corners(frame: Frame) -> list[list[_Name]]:
    y = frame.height - 11.0
    return [
        [_Name("unattainable: above the bandwidth roof", 6.0, y)],
        [_Name("unattainable: above the compute roof", WIDTH - 6.0, y, "right")],
    ]


def _rising(regions: Regions) -> list[_Name]:
    """ "memory-bound" somewhere along the middle of its band, not at the roof's own name."""
    frame, text = regions.frame, "memory-bound"
    low, high = frame.x_domain[0], regions.ridge
    ends = [frame.pixels(at, regions.roof(at) * _BAND_MIDDLE) for at in (low, high)]
    if math.dist(*ends) < 2.5 * text_width(text):
        return []
    places = []
    for share in (0.72, 0.64, 0.8, 0.56, 0.48, 0.4, 0.88):
        at = low ** (1 - share) * high**share
        px, py = frame.pixels(at, regions.roof(at) * _BAND_MIDDLE)
        places.append(_Name(text, px, py, "center", rising=True))
    return places


def _bound(regions: Regions) -> list[_Name]:
    return _right_of_the_ridge(regions, "compute-bound", (_BAND_MIDDLE, 0.85, 0.59))


def _poor(regions: Regions) -> list[_Name]:
    return _right_of_the_ridge(regions, "poor", (POOR_BELOW / 1.4, POOR_BELOW / 2, POOR_BELOW / 3))


def _right_of_the_ridge(regions: Regions, text: str, shares: Iterable[float]) -> list[_Name]:
    frame = regions.frame
    first = frame.pixels(regions.ridge, regions.peak)[0] + 12.0
    last = WIDTH - text_width(text) - 6.0
    steps = range(max(0, math.floor((last - first) / 24.0) + 1))
    heights = [frame.pixels(1.0, regions.peak * share)[1] for share in shares]
    return [_Name(text, first + 24.0 * step, height) for step in steps for height in heights]


def _covered(boxes: Iterable[Box], taken: Sequence[Box]) -> float:
    return sum(box.overlap(other) for box in boxes for other in taken)
