"""What stands beneath the roofs: work as points with their names, and the five regions, shaded."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from topout.report.charts.labels import (
    LINE,
    Beside,
    Box,
    along,
    beside_marks,
    is_free,
    text_width,
)
from topout.report.charts.theme import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    PINK,
    Row,
    chart_of,
    coloured,
    own_colours,
    tooltips,
)
from topout.report.roofline.frame import WIDTH, Frame
from topout.roofline import POOR_BELOW

_LONGEST_NAME = 28
# A ring as a path with a hole, since a legend has no symbol for a hollow mark among filled ones.
_SHAPES = {
    "measured": "circle",
    "predicted": (
        "M1.13,0A1.13,1.13,0,1,1,-1.13,0A1.13,1.13,0,1,1,1.13,0Z"
        "M0.7,0A0.7,0.7,0,1,0,-0.7,0A0.7,0.7,0,1,0,0.7,0Z"
    ),
}


def point_layers(
    rows: list[Row],
    frame: Frame,
    lines: Sequence[Box],
    taken: Sequence[Box],
    x: alt.X,
    y: alt.Y,
) -> list[Any]:
    """Points, and their names where they cover no lines and nothing that is `taken` (pixels).

    A row has intensity, rate (chart units), label, group, kind, and the words of its tooltip.
    """
    if not rows:
        return []
    placed = _placed(rows, frame, lines, taken)
    groups = list(dict.fromkeys(row["group"] for row in rows))

    several = len(groups) > 1
    legend = alt.Legend(symbolType="circle", symbolOpacity=1, columns=6) if several else None
    hues = own_colours(groups)  # grey is the roofs'
    colour = coloured("group", hues, title=None, legend=legend)
    return [
        *_leaders(placed, colour, x, y),
        _marks(placed, colour, x, y),
        *_names(placed, x, y),
    ]


def mark_boxes(rows: Sequence[Row], frame: Frame) -> list[Box]:
    """The pixels that the points cover."""
    spots = [frame.pixels(row["intensity"], row["rate"]) for row in rows]
    return [Box(x - 6, y - 6, x + 6, y + 6) for x, y in spots]


def _placed(rows: list[Row], frame: Frame, lines: Sequence[Box], taken: Sequence[Box]) -> list[Row]:
    marks = [frame.pixels(row["intensity"], row["rate"]) for row in rows]
    names = [_short(row["label"]) for row in rows]
    places = beside_marks(marks, names, lines, taken, (WIDTH, frame.height))
    return [{**row, **_named(name, at)} for row, name, at in zip(rows, names, places, strict=True)]


def _named(name: str, at: Beside | None) -> Row:
    """The fields of a point's name; where it has no place the pointer tells it."""
    if at is None:
        return {"name": "", "dx": 0.0, "dy": 0.0, "align": "left", "leader": False}
    return {"name": name, "dx": at.dx, "dy": at.dy, "align": at.align, "leader": at.leader}


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _marks(rows: list[Row], colour: alt.Color, x: alt.X, y: alt.Y) -> Any:
    both = len({row["kind"] for row in rows}) > 1
    shape = alt.Shape(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values())),
        legend=alt.Legend(symbolOpacity=1) if both else None,
    )
    words = (
        "label: name, group: group, kind: figure, reached: rate, at_intensity: intensity, "
        "attainable: attainable, share: share of attainable, region: region"
    )
    if any(row["detail"] for row in rows):
        words += ", detail: detail"
    return (
        chart_of(rows)
        .mark_point(filled=True, size=90, opacity=1, clip=True)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=shape,
            tooltip=tooltips(words),
        )
    )


def _leaders(rows: list[Row], colour: alt.Color, x: alt.X, y: alt.Y) -> list[Any]:
    found = [row for row in rows if row["leader"]]
    if not found:
        return []
    mark = chart_of(found).mark_rule(
        strokeWidth=0.8,
        opacity=0.75,
        clip=True,
        x2Offset={"expr": "datum.dx"},
        y2Offset={"expr": "datum.dy"},
    )
    return [mark.encode(x=x, y=y, x2="intensity:Q", y2="rate:Q", color=colour)]


def _names(rows: list[Row], x: alt.X, y: alt.Y) -> list[Any]:
    layers = []
    gaps: dict[Literal["left", "right"], int] = {"left": 2, "right": -2}
    for align, gap in gaps.items():
        found = [row for row in rows if row["align"] == align]
        if found:
            layers.append(
                chart_of(found)
                .mark_text(
                    align=align,
                    baseline="middle",
                    fontSize=11,
                    clip=True,
                    dx={"expr": f"datum.dx + {gap}"},
                    dy={"expr": "datum.dy"},
                )
                .encode(x=x, y=y, text="name:N")
            )
    return layers


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
    regions: Regions, lines: Sequence[Box], taken: Sequence[Box], x: alt.X, y: alt.Y
) -> tuple[list[Any], list[Box]]:
    """The regions' names where they cover the least of `lines`, and their own boxes.

    Where all places are taken there is none: the colour of the region stays.
    """
    frame = regions.frame
    layers: list[Any] = []
    boxes: list[Box] = []
    for places in (*_corners(frame), _rising(regions), _bound(regions), _poor(regions)):
        free = [
            place
            for place in places
            if frame.holds(found := place.boxes(frame)) and is_free(found, [*taken, *boxes])
        ]
        if not free:
            continue
        best = min(free, key=lambda place: _covered(place.boxes(frame), lines))
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
