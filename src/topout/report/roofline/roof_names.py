"""The names of roofs, each on its line where it covers no other name."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from topout.report.charts.labels import LINE, Box, along, along_lines, is_free, text_width
from topout.report.charts.theme import Row, chart_of
from topout.report.roofline.frame import WIDTH, Frame, RoofLine, line_boxes, line_layers

_OVER, _UNDER = 3.0, 4.0  # pixels between a roof and its name


def roof_layers(
    lines: Sequence[RoofLine], frame: Frame, marks: Sequence[Box], x: alt.X, y: alt.Y
) -> list[Any]:
    """The roofs, and on each its label, off the marks that stand beneath them."""
    return [
        *line_layers(lines, x, y),
        *_label_layers(roof_labels(lines, frame, marks), frame, x, y),
    ]


def _label_layers(rows: Sequence[Row], frame: Frame, x: alt.X, y: alt.Y) -> list[Any]:
    layers = []
    for kind, above in (
        ("bandwidth", True),
        ("bandwidth", False),
        ("compute", True),
        ("compute", False),
    ):
        found = [row for row in rows if (row["kind"], row["above"]) == (kind, above)]
        if not found:
            continue
        look: dict[str, Any] = {"angle": frame.slope_angle} if kind == "bandwidth" else {}
        layers.append(
            chart_of(found)
            .mark_text(
                align="left" if kind == "bandwidth" else "right",
                baseline="bottom" if above else "top",
                dy=-_OVER if above else _UNDER,
                fontSize=11,
                opacity=0.85,
                clip=True,
                **look,
            )
            .encode(x=x, y=y, text="text:N")
        )
    return layers


def roof_labels(lines: Sequence[RoofLine], frame: Frame, marks: Sequence[Box]) -> list[Row]:
    """A row per labelled roof: its words, and where on the line they begin (flat roofs: end).

    They cover no other roof's name and no mark, and a line only where they must. Where the figures
    have no room the name stands alone, and where that has none, nothing.
    """
    labelled = [line for line in lines if line.labelled]
    # The heavy ones first, since they part the regions; of flat ones then the highest.
    flat = sorted(
        (line for line in labelled if line.kind == "compute"),
        key=lambda line: (not line.main, -line.ends[0][1]),
    )
    strokes = line_boxes(lines, frame)
    rows: list[Row] = []
    taken = [*marks]
    for places in (
        *_rising_places(labelled, lines, frame),
        *(_flat_places(f, frame) for f in flat),
    ):
        found = [(row, _boxes_of(row, frame)) for row in places]
        free = [each for each in found if frame.holds(each[1]) and is_free(each[1], taken)]
        if free:
            # With its figures, if any place is free for them, and there off the lines.
            whole = [each for each in free if each[0]["text"] == free[0][0]["text"]]
            unstruck = (each for each in whole if not _struck(each[1], strokes))
            row, boxes = next(unstruck, free[0])
            rows.append(row)
            taken += boxes
    return rows


def _struck(boxes: Sequence[Box], strokes: Sequence[Box]) -> bool:
    """Whether a roof runs through the text, not merely beside it."""
    middles = [
        Box(each.left, each.bottom + LINE / 4, each.right, each.top - LINE / 4) for each in boxes
    ]
    return not is_free(middles, strokes)


def label_boxes(lines: Sequence[RoofLine], frame: Frame, marks: Sequence[Box]) -> list[Box]:
    """The pixels that the roofs' labels cover."""
    return [box for row in roof_labels(lines, frame, marks) for box in _boxes_of(row, frame)]


def _boxes_of(row: Row, frame: Frame) -> list[Box]:
    px, py = frame.pixels(row["intensity"], row["rate"])
    lift = LINE / 2 + _OVER if row["above"] else -LINE / 2 - _UNDER
    if row["kind"] == "compute":
        return [Box(px - row["width"], py + lift - LINE / 2, px, py + lift + LINE / 2)]
    sin, cos = math.sin(frame.slope), math.cos(frame.slope)
    return along(px - lift * sin, py + lift * cos, 0.0, row["width"], frame.slope)


def _rising_places(
    labelled: Sequence[RoofLine], every: Sequence[RoofLine], frame: Frame
) -> list[list[Row]]:
    """In axes turned by the slope the lines are level: u runs along them, v across."""
    lines = [line for line in labelled if line.kind == "bandwidth"]
    cos, sin = math.cos(frame.slope), math.sin(frame.slope)

    def turned(line: RoofLine) -> tuple[float, float]:
        px, py = frame.pixels(*line.ends[0])
        return px * cos + py * sin, py * cos - px * sin

    starts = [turned(line) for line in lines]
    others = [turned(line)[1] for line in every if line.kind == "bandwidth"]
    places = along_lines(
        [v for _, v in starts],
        [u + 16.0 for u, _ in starts],
        [line.label for line in lines],
        others,
    )
    return [
        [
            _label(line, text, above, frame.values(u * cos - v * sin, u * sin + v * cos))
            for text in (line.label, line.name)
        ]
        for line, (_, v), (u, above) in zip(lines, starts, places, strict=True)
    ]


def _flat_places(line: RoofLine, frame: Frame) -> list[Row]:
    """From the right edge of the roof to where it begins, over the line and under it."""
    (first, height), (last, _) = (frame.pixels(*end) for end in line.ends)
    return [
        _label(line, text, above, frame.values(min(last, WIDTH) - 4.0 - 12.0 * step, height))
        for text in (line.label, line.name)
        for step in range(max(0, int((min(last, WIDTH) - first - text_width(text)) / 12.0)) + 1)
        for above in (True, False)
    ]


def _label(line: RoofLine, text: str, above: bool, at: tuple[float, float]) -> Row:
    return {
        "name": line.name,
        "label": line.label,
        "text": text,
        "kind": line.kind,
        "above": above,
        "intensity": at[0],
        "rate": at[1],
        "width": text_width(text),
    }
