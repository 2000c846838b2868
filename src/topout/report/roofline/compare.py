"""Several machines on one roofline: main memory and one data type of each."""

from collections.abc import Sequence

import altair as alt

from topout import units
from topout.cost.roofs import BandwidthRoof, ComputeRoof, roofs_of
from topout.errors import InputError
from topout.records import Hardware, PeakDtype
from topout.report.charts.theme import BLUE, GREEN, ORANGE, PINK, Spec, chart_of, finished
from topout.report.roofline.frame import (
    HEIGHT,
    Frame,
    RoofLine,
    bandwidth_ends,
    compute_ends,
    roof_layers,
)
from topout.report.roofline.hierarchical import rate_scale, zoomable
from topout.roofline import POOR_BELOW, ridge_point

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
        for line in _lines(machine.name, pair, colour, frame, scale)
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
            tooltip=[
                alt.Tooltip("of:N", title="ridge point of"),
                alt.Tooltip("figure:N", title="at"),
            ],
        )
    )
    return finished(zoomable(alt.layer(*roof_layers(lines, frame, x, y), marks)), height=HEIGHT)


def _main_roofs(machine: Hardware, dtype: PeakDtype) -> tuple[BandwidthRoof, ComputeRoof]:
    roofs = roofs_of(machine)
    memory, peak = roofs.level(), roofs.peak(dtype)
    if memory is None or peak is None:
        raise InputError(
            f"the machine {machine.name} has no {'bandwidth' if memory is None else dtype} roof.",
            "Leave it out, or choose another data type.",
        )
    return memory, peak


def _lines(
    name: str,
    pair: tuple[BandwidthRoof, ComputeRoof],
    colour: str,
    frame: Frame,
    scale: float,
) -> list[RoofLine]:
    memory, peak = pair
    slope, top = memory.bytes_per_s / scale, peak.flops_per_s / scale
    unit = "OP/s" if peak.dtype in ("int8", "int4") else "FLOP/s"
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
