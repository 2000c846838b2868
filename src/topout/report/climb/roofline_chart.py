"""The roofline of a climb: the machine's measured ceilings, and each rung's phases beneath them."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from topout import units
from topout.records import BandwidthCeiling, Ceilings, Climb, ComputeCeiling, PhaseResult
from topout.report.charts.labels import LINE, Box, apart, beside_marks, is_free, text_width
from topout.report.charts.theme import (
    Row,
    Spec,
    chart_of,
    coloured,
    rung_colour,
    tooltips,
)
from topout.report.climb.rung import RungRow, rung_rows
from topout.report.figures import PHASES, Phase, phase_result, phases_of, placement, rate_unit_of
from topout.report.roofline.frame import (
    WIDTH,
    Frame,
    RoofLine,
    bandwidth_ends,
    compute_ends,
    in_frame,
    line_boxes,
)
from topout.report.roofline.marks import mark_boxes
from topout.report.roofline.roof_names import label_boxes, roof_layers
from topout.roofline import ceilings_at, level_ceiling, share_of


def roofline_chart(climb: Climb) -> Spec:
    """Log-log: FLOP/s over FLOP/byte, roofs as lines, a point per rung and phase."""
    points = _points(climb)
    roofs = _Roofs(climb)
    frame = Frame(*_domains(points, roofs))
    lines = roofs.lines(frame)
    place_labels(points, lines, frame)
    x, y = frame.axes()
    layers = [
        *roof_layers(lines, frame, mark_boxes(points, frame), x, y),
        *_point_layers(climb, points, x, y),
    ]
    return in_frame(alt.layer(*layers))


class _Roofs:
    """The ceilings that belong on the chart: those of the threads that the climb ran on."""

    def __init__(self, climb: Climb) -> None:
        threads = climb.workload.threads
        ceilings = ceilings_at(climb.ceilings, threads) if climb.ceilings else None
        self.compute = _compute(ceilings) if ceilings else []
        self.bandwidth = _bandwidth(ceilings) if ceilings else []

    def lines(self, frame: Frame) -> list[RoofLine]:
        """Two ends per roof in chart units (FLOP/byte and GFLOP/s), with its label."""
        top = max((c.flops_per_s for c in self.compute), default=frame.y_domain[1] * 1e9) / 1e9
        steepest = max((b.bytes_per_s for b in self.bandwidth), default=math.inf) / 1e9
        rising = [
            RoofLine(
                b.level,
                f"{b.level} {units.bytes_per_s(b.bytes_per_s)}",
                "bandwidth",
                bandwidth_ends(b.bytes_per_s / 1e9, top, frame),
            )
            for b in self.bandwidth
        ]
        flat = [
            RoofLine(
                c.dtype,
                f"{c.dtype} {units.si(c.flops_per_s, rate_unit_of(c.dtype))}",
                "compute",
                compute_ends(c.flops_per_s / 1e9, steepest, frame),
            )
            for c in self.compute
        ]
        return rising + flat


def _compute(ceilings: Ceilings) -> list[ComputeCeiling]:
    ascending = sorted(ceilings.compute, key=lambda ceiling: ceiling.flops_per_s)
    best = {ceiling.dtype: ceiling for ceiling in ascending}
    return sorted(best.values(), key=lambda ceiling: ceiling.flops_per_s)


def _bandwidth(ceilings: Ceilings) -> list[BandwidthCeiling]:
    levels = {ceiling.level for ceiling in ceilings.bandwidth}
    found = [ceiling for level in levels if (ceiling := level_ceiling(ceilings, level))]
    return sorted(found, key=lambda ceiling: ceiling.bytes_per_s)


def _points(climb: Climb) -> list[Row]:
    points = []
    for number, row in enumerate(rung_rows(climb)):
        for phase in phases_of(climb.workload):
            result = phase_result(row.rung, phase)
            if result is not None and result.flops > 0 and result.time_s.median > 0:
                points.append(_point(row, number, phase, result))
    return points


def _point(row: RungRow, number: int, phase: Phase, result: PhaseResult) -> Row:
    rate = result.flops / result.time_s.median
    placed = placement(result)
    return {
        "label": row.label,
        "short": f"{number} {row.label}",
        "phase": phase,
        "verdict": row.verdict,
        "intensity": result.arithmetic_intensity,
        "rate": rate / 1e9,
        "measured": units.flops_per_s(rate),
        "at_intensity": f"{units.significant(result.arithmetic_intensity)} FLOP/byte",
        "attainable": units.flops_per_s(placed.attainable_flops_per_s if placed else None),
        "share": share_of(placed.attained_share if placed else None),
        "region": placed.region if placed else "not placed: no ceilings",
        "number": number,
    }


def _domains(points: list[Row], roofs: _Roofs) -> tuple[list[float], list[float]]:
    """The ranges of both axes: every point and ridge is inside, with room for labels."""
    tops = [c.flops_per_s / 1e9 for c in roofs.compute]
    slopes = [b.bytes_per_s / 1e9 for b in roofs.bandwidth]
    xs = [p["intensity"] for p in points]
    if tops and slopes:
        xs += [max(tops) / min(slopes), min(tops) / max(slopes)]
    ys = [p["rate"] for p in points] + tops
    # At the right of the last point the names of the compute roofs stand.
    x_domain = [min(xs, default=0.1) / 3, max(xs, default=100.0) * 7]
    return x_domain, [min(ys, default=1.0) / 2.5, max(ys, default=1000.0) * 2]


def place_labels(points: list[Row], lines: Sequence[RoofLine], frame: Frame) -> None:
    """Put the labels of each phase in a column beside its points, in their order and apart.

    Decode stands at the left of the chart and prefill at the right: the columns stand between.
    Where a column would cover the names of roofs, points or the other column, each label takes the
    free place that is nearest to its point, and none where nothing is free.
    """
    marks = mark_boxes(points, frame)
    taken = [*label_boxes(lines, frame, marks), *marks]
    strokes = line_boxes(lines, frame)
    for phase in PHASES:
        column = sorted((p for p in points if p["phase"] == phase), key=lambda p: float(p["rate"]))
        if not column:
            continue
        _stand_in_column(column, phase, frame)
        boxes = [label_box(point, frame) for point in column]
        if not (frame.holds(boxes) and is_free(boxes, taken)):
            _stand_apart(column, strokes, taken, frame)
        taken += [label_box(point, frame) for point in column if point["short"]]


def _stand_in_column(column: list[Row], phase: Phase, frame: Frame) -> None:
    spots = [frame.pixels(p["intensity"], p["rate"]) for p in column]
    right = phase == "decode"
    beside = max(x for x, _ in spots) + 28 if right else min(x for x, _ in spots) - 28
    for point, height in zip(column, apart([y for _, y in spots], LINE), strict=True):
        _put(point, beside, height, "left" if right else "right", frame)


def _stand_apart(
    column: list[Row], strokes: Sequence[Box], taken: Sequence[Box], frame: Frame
) -> None:
    spots = [frame.pixels(p["intensity"], p["rate"]) for p in column]
    texts = [p["short"] for p in column]
    places = beside_marks(spots, texts, strokes, taken, (WIDTH, frame.height))
    for point, (x, y), place in zip(column, spots, places, strict=True):
        if place is None:
            point["short"] = ""  # the pointer tells it
            _put(point, x, y, "left", frame)
        else:
            _put(point, x + place.dx, y - place.dy, place.align, frame)


def _put(point: Row, x: float, y: float, align: str, frame: Frame) -> None:
    intensity, rate = frame.values(x, y)
    point |= {"label_intensity": intensity, "label_rate": rate, "align": align}


def label_box(point: Row, frame: Frame) -> Box:
    """The pixels that the label of a point covers."""
    x, y = frame.pixels(point["label_intensity"], point["label_rate"])
    width = text_width(point["short"])
    left = x + 2 if point["align"] == "left" else x - 2 - width
    return Box(left, y - LINE / 2, left + width, y + LINE / 2)


def _point_layers(climb: Climb, points: list[Row], x: alt.X, y: alt.Y) -> list[Any]:
    rows = rung_rows(climb)
    colour = coloured("label", {row.label: rung_colour(row.number) for row in rows}, legend=None)
    base = chart_of(points)
    marks = base.mark_point(filled=True, size=95, opacity=0.95).encode(
        x=x,
        y=y,
        color=colour,
        shape=alt.Shape(
            "phase:N",
            title=None,
            scale=alt.Scale(domain=list(PHASES), range=["square", "circle"]),
        ),
        tooltip=tooltips(
            "label: rung, phase, verdict, measured, at_intensity: intensity, attainable, "
            "share: share of attainable, region"
        ),
    )
    leaders = base.mark_rule(strokeWidth=0.8, opacity=0.7).encode(
        x=x, y=y, x2="label_intensity:Q", y2="label_rate:Q", color=colour
    )
    left, right = (base.transform_filter(alt.datum.align == side) for side in ("left", "right"))
    where = {"x": alt.X("label_intensity:Q"), "y": alt.Y("label_rate:Q"), "text": "short:N"}
    return [
        leaders,
        marks,
        left.mark_text(align="left", dx=2, fontSize=11).encode(**where),
        right.mark_text(align="right", dx=-2, fontSize=11).encode(**where),
    ]
