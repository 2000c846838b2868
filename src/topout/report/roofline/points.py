"""Work on a roofline: points with their names, measured ones filled and predicted ones hollow."""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from topout.report.charts.labels import Box, beside_marks
from topout.report.charts.theme import BLUE, RUNG_COLOURS, chart_of
from topout.report.roofline.frame import WIDTH, Frame, Row

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
    # Grey is the roofs' colour.
    hues = [RUNG_COLOURS[1:][number % (len(RUNG_COLOURS) - 1)] for number in range(len(groups))]
    scale = alt.Scale(domain=groups, range=hues if len(groups) > 1 else [BLUE])
    several = alt.Legend(symbolType="circle", symbolOpacity=1, columns=6)
    colour = alt.Color(
        "group:N", title=None, scale=scale, legend=several if len(groups) > 1 else None
    )
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
    return [
        {**row, "name": name, "dx": at.dx, "dy": at.dy, "align": at.align, "leader": at.leader}
        for row, name, at in zip(rows, names, places, strict=True)
    ]


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
    titles = {
        "label": "name",
        "group": "group",
        "kind": "figure",
        "reached": "rate",
        "at_intensity": "intensity",
        "attainable": "attainable",
        "share": "share of attainable",
        "region": "region",
    }
    if any(row["detail"] for row in rows):
        titles["detail"] = "detail"
    return (
        chart_of(rows)
        .mark_point(filled=True, size=90, opacity=1, clip=True)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=shape,
            tooltip=[alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()],
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
