"""Rooflines: of one machine in full, with work beneath the roofs, and of several machines.

What was reached is drawn solid, what a datasheet says dashed; measured work is filled, predicted
work hollow.
"""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from topout import units
from topout.cost.roofs import (
    BandwidthRoof,
    ComputeRoof,
    RooflinePoint,
    Roofs,
    default_dtype,
    place_point,
    roofs_of,
)
from topout.errors import InputError
from topout.records import Hardware, PeakDtype
from topout.report.charts.labels import Box, is_free, text_width
from topout.report.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    Row,
    Spec,
    chart_of,
    tooltips,
)
from topout.report.figures import rate_unit_of
from topout.report.roofline.frame import (
    HEIGHT,
    Frame,
    RoofLine,
    bandwidth_ends,
    compute_ends,
    drawn_peaks,
    in_frame,
    line_boxes,
    rates_of,
    roof_lines,
)
from topout.report.roofline.marks import (
    Regions,
    mark_boxes,
    name_layers,
    point_layers,
    shade_layers,
)
from topout.report.roofline.roof_names import label_boxes, roof_layers
from topout.roofline import POOR_BELOW, ridge_point, share_of

_MOST_FIGURE = 1e30  # beyond it, and below its inverse, axes end in figures that are none
ROOFLINE_CAPTION = (
    "Solid lines: rates that were reached, bandwidth rising and arithmetic flat. Dashed: the "
    "datasheet's. Filled points were measured, hollow ones predicted. Diamonds: ridge points of "
    "main memory. The shaded regions are those of the two heavy roofs. "
    "Drag to move, Shift and wheel to zoom, double click to return."
)


def hierarchical_roofline(
    hardware: Hardware,
    points: Sequence[RooflinePoint] = (),
    *,
    dtype: PeakDtype | None = None,
    dtypes: Sequence[PeakDtype] | None = None,
    unit: Literal["vector", "matrix"] | None = None,
    height: float = HEIGHT,
) -> Spec:
    """Log-log FLOP/s over FLOP/byte: a roof per level and data type of `hardware`, and `points`.

    `dtype` is the type whose roof, with main memory's, parts the regions; `dtypes` are those
    drawn (default: all that are no mere half of another), on `unit` where a type runs on two.
    Raises InputError when the machine has no bandwidth or no arithmetic rate to draw.
    """
    roofs = roofs_of(hardware)
    chosen = dtype or default_dtype(roofs)
    flat = drawn_peaks(roofs, chosen, dtypes, unit)
    main = next((roof for roof in flat if roof.dtype == chosen), None)
    memory = roofs.level()
    if memory is None or main is None:
        raise InputError(
            f"the machine {hardware.name} has no {'bandwidth' if memory is None else chosen} roof.",
            "Add the figure to its file, or measure it with `topout machine`.",
        )
    scale, rate_unit = rate_scale(max(roof.flops_per_s for roof in flat))
    placed = [point for point in points if _has_place(point)]
    frame = _frame(roofs.bandwidth, flat, placed, scale, height)
    x, y = frame.axes(rate_unit)
    lines = roof_lines(roofs.bandwidth, flat, (memory, main), frame, scale)
    regions = Regions(memory.bytes_per_s / scale, main.flops_per_s / scale, frame)
    rows = [_row(point, roofs, chosen, scale) for point in placed]
    marks, strokes = mark_boxes(rows, frame), line_boxes(lines, frame)
    labels = label_boxes(lines, frame, marks)
    texts = [*labels, *marks]
    ridges, ridge_boxes = _ridge_layers(memory, flat, main, frame, scale, texts, x, y)
    texts += ridge_boxes
    names, name_boxes = name_layers(regions, strokes, texts, x, y)
    layers = [
        *shade_layers(regions, x, y),
        *roof_layers(lines, frame, marks, x, y),
        *names,
        *ridges,
        *point_layers(rows, frame, strokes, [*labels, *ridge_boxes, *name_boxes], x, y),
    ]
    return in_frame(zoomable(alt.layer(*layers)), height)


def zoomable(chart: Any) -> Any:
    """The chart with a hand: drag, and zoom with Shift, so that a page still scrolls."""
    hand = alt.selection_interval(
        name="view",
        bind="scales",
        zoom="wheel![event.shiftKey]",
    )
    return chart.add_params(hand)


def rate_scale(top_flops_per_s: float) -> tuple[float, str]:
    """The unit of the rates on the axis: what to divide FLOP/s by, and its name."""
    return (1e12, "TFLOP/s") if top_flops_per_s >= 1e13 else (1e9, "GFLOP/s")


def _frame(
    rising: Sequence[BandwidthRoof],
    flat: Sequence[ComputeRoof],
    points: Sequence[RooflinePoint],
    scale: float,
    height: float,
) -> Frame:
    """Every point and every ridge point is inside, with room for names at the right and above."""
    slopes, tops = rates_of(rising), rates_of(flat)
    ridges = [max(tops) / min(slopes), min(tops) / max(slopes)]
    xs = [*ridges, *(point.arithmetic_intensity for point in points)]
    # Roofs are named at both edges: no point stands there.
    left = [min(ridges) / 2.5, max(ridges) / 60, min(xs) / (8 if points else 2.5)]
    x_domain = [min(left), max(max(xs) * 8, max(ridges) * 9)]
    # Half of the lowest roof is inside at the left edge too.
    lowest = x_domain[0] * min(slopes) * POOR_BELOW
    ys = [lowest, *(point.flops_per_s for point in points)]
    return Frame(x_domain, [min(ys) / 1.25 / scale, max([*tops, *ys]) * 2.4 / scale], height)


def _ridge_layers(
    memory: BandwidthRoof,
    flat: Sequence[ComputeRoof],
    main: ComputeRoof,
    frame: Frame,
    scale: float,
    taken: Sequence[Box],
    x: alt.X,
    y: alt.Y,
) -> tuple[list[Any], list[Box]]:
    """A diamond where main memory meets each flat roof; from that of the heavy one a line down.

    Its figure stands at the foot of the line, where nothing else does; second, its pixels.
    """
    rows = [_ridge(memory, roof, scale) for roof in flat]
    foot = {**_ridge(memory, main, scale), "low": frame.y_domain[0]}
    text = f"ridge {foot['figure']}"
    left = frame.pixels(foot["intensity"], foot["rate"])[0] + 5
    spots = [Box(left, up - 7, left + text_width(text), up + 7) for up in (9, 25, 41, 57)]
    box = next((each for each in spots if frame.holds([each]) and is_free([each], taken)), None)
    rate = frame.values(0, (box.bottom + box.top) / 2)[1] if box else frame.y_domain[0]
    foot_text = {**foot, "rate": rate, "text": text if box else ""}
    tooltip = tooltips("of: ridge point of, figure: at")
    layers = [
        chart_of([foot])
        .mark_rule(strokeDash=[2, 3], color=GREY, clip=True)
        .encode(x=x, y=y, y2="low:Q"),
        chart_of([foot_text])
        .mark_text(align="left", dx=5, fontSize=11, opacity=0.85, clip=True)
        .encode(x=x, y=y, text="text:N"),
        chart_of(rows)
        .mark_point(shape="diamond", filled=True, size=46, color=GREY, opacity=1, clip=True)
        .encode(x=x, y=y, tooltip=tooltip),
    ]
    return layers, [box] if box else []


def _ridge(memory: BandwidthRoof, roof: ComputeRoof, scale: float) -> Row:
    at = ridge_point(roof.flops_per_s, memory.bytes_per_s)
    return {
        "intensity": at,
        "rate": roof.flops_per_s / scale,
        "of": f"{memory.level} and {roof.dtype}",
        "figure": f"{units.significant(at)} FLOP/byte",
    }


def _has_place(point: RooflinePoint) -> bool:
    """Work without FLOPs, or without a rate, is nowhere on logarithmic axes."""
    figures = (point.arithmetic_intensity, point.flops_per_s)
    return all(1 / _MOST_FIGURE < each < _MOST_FIGURE for each in figures)


def _row(point: RooflinePoint, roofs: Roofs, dtype: PeakDtype | None, scale: float) -> Row:
    placed = place_point(point, roofs, dtype)
    return {
        "label": point.name,
        "group": point.group,
        "kind": "predicted" if point.predicted else "measured",
        "intensity": point.arithmetic_intensity,
        "rate": point.flops_per_s / scale,
        "reached": units.flops_per_s(point.flops_per_s),
        "at_intensity": f"{units.significant(point.arithmetic_intensity)} FLOP/byte",
        "attainable": units.flops_per_s(placed.attainable_flops_per_s if placed else None),
        "share": share_of(placed.attained_share if placed else None),
        "region": placed.region if placed else "not placed: a roof is missing",
        "detail": point.detail,
    }


_COLOURS = (BLUE, ORANGE, GREEN, PINK)


def compare_rooflines(machines: Sequence[Hardware], dtype: PeakDtype) -> Spec:
    """The main-memory roofs of up to four machines for one data type, in one chart.

    Each line is what was reached, or the datasheet's figure (dashed) where nothing was. Raises
    InputError for no machine or more than four, or one without such a roof.
    """
    if not 1 <= len(machines) <= len(_COLOURS):
        raise InputError(
            f"{len(machines)} machines on one roofline.", f"Give 1 to {len(_COLOURS)}."
        )
    pairs = [_main_roofs(machine, dtype) for machine in machines]
    slopes = [memory.bytes_per_s for memory, _ in pairs]
    peaks = [peak.flops_per_s for _, peak in pairs]
    ridges = [ridge_point(*rates) for rates in zip(peaks, slopes, strict=True)]
    scale, rate_unit = rate_scale(max(peaks))
    x_domain = [min(ridges) / 60, max(ridges) * 12]
    bottom = x_domain[0] * min(slopes) * POOR_BELOW
    frame = Frame(x_domain, [bottom / scale, max(peaks) * 2 / scale])
    x, y = frame.axes(rate_unit)
    lines = [
        line
        for machine, pair, colour in zip(machines, pairs, _COLOURS, strict=False)
        for line in _main_lines(machine.name, pair, colour, frame, scale)
    ]
    diamonds = [
        {
            "intensity": ridge,
            "rate": peak / scale,
            "of": machine.name,
            "figure": f"{units.significant(ridge)} FLOP/byte",
            "hue": colour,
        }
        for machine, ridge, peak, colour in zip(machines, ridges, peaks, _COLOURS, strict=False)
    ]
    marks = (
        chart_of(diamonds)
        .mark_point(shape="diamond", filled=True, size=90, opacity=1, clip=True)
        .encode(
            x=x,
            y=y,
            color=alt.Color("hue:N", scale=None),
            tooltip=tooltips("of: ridge point of, figure: at"),
        )
    )
    return in_frame(zoomable(alt.layer(*roof_layers(lines, frame, [], x, y), marks)))


def _main_roofs(machine: Hardware, dtype: PeakDtype) -> tuple[BandwidthRoof, ComputeRoof]:
    roofs = roofs_of(machine)
    memory, peak = roofs.level(), roofs.peak(dtype)
    if memory is None or peak is None:
        raise InputError(
            f"the machine {machine.name} has no {'bandwidth' if memory is None else dtype} roof.",
            "Leave it out, or choose another data type.",
        )
    return memory, peak


def _main_lines(
    name: str,
    pair: tuple[BandwidthRoof, ComputeRoof],
    colour: str,
    frame: Frame,
    scale: float,
) -> list[RoofLine]:
    memory, peak = pair
    slope, top = memory.bytes_per_s / scale, peak.flops_per_s / scale
    unit = rate_unit_of(peak.dtype)
    return [
        RoofLine(
            name,
            f"{name}, {memory.level} {units.bytes_per_s(memory.bytes_per_s)}",
            "bandwidth",
            bandwidth_ends(slope, top, frame),
            dashed=memory.basis == "datasheet",
            main=True,
            colour=colour,
        ),
        RoofLine(
            name,
            f"{name}, {peak.dtype} {units.si(peak.flops_per_s, unit)}",
            "compute",
            compute_ends(top, slope, frame),
            dashed=peak.basis == "datasheet",
            main=True,
            colour=colour,
        ),
    ]
