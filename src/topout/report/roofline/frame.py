"""What every roofline is drawn on: log-log axes, and the roofs as lines with their names.

Rates are in chart units (GFLOP/s, or TFLOP/s where `rate_unit` says so), bandwidths in the same
units per FLOP/byte.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from topout import units
from topout.cost.roofs import BandwidthRoof, ComputeRoof, Roofs
from topout.records import PeakDtype
from topout.report.charts.labels import (
    LINE,
    Box,
    stroke,
)
from topout.report.charts.theme import GREY, Spec, chart_of, finished

# The plot, axes not counted. It does not stretch: where names stand free is counted in pixels.
WIDTH, HEIGHT = 760.0, 460.0


@dataclass(frozen=True, slots=True)
class Frame:
    """The ranges of both axes, and where a value stands in the plot, in pixels from below left."""

    x_domain: list[float]
    y_domain: list[float]
    height: float = HEIGHT

    def pixels(self, intensity: float, rate: float) -> tuple[float, float]:
        """Where a point is drawn."""
        x = math.log10(intensity / self.x_domain[0]) / _decades(self.x_domain) * WIDTH
        return x, math.log10(rate / self.y_domain[0]) * self.pixels_per_decade

    def values(self, x: float, y: float) -> tuple[float, float]:
        """The intensity and the rate that are drawn there."""
        intensity = self.x_domain[0] * 10 ** (x / WIDTH * _decades(self.x_domain))
        return intensity, self.y_domain[0] * 10 ** (y / self.pixels_per_decade)

    @property
    def pixels_per_decade(self) -> float:
        """Of the rate."""
        return self.height / _decades(self.y_domain)

    @property
    def slope(self) -> float:
        """The angle of a bandwidth roof, in radians."""
        return math.atan2(self.pixels_per_decade, WIDTH / _decades(self.x_domain))

    @property
    def slope_angle(self) -> float:
        """The same in degrees, clockwise as screens count."""
        return 360 - math.degrees(self.slope)

    def holds(self, boxes: Iterable[Box]) -> bool:
        """Whether all of them is inside the plot."""
        return all(box.outside(WIDTH, self.height) < 1e-6 for box in boxes)

    def axes(self, rate_unit: str = "GFLOP/s") -> tuple[alt.X, alt.Y]:
        """The encodings of the columns `intensity` and `rate`."""
        x = alt.X(
            "intensity:Q",
            title="arithmetic intensity, FLOP/byte",
            scale=alt.Scale(type="log", domain=self.x_domain, nice=False),
            axis=alt.Axis(values=ticks(self.x_domain), format="~g"),
        )
        y = alt.Y(
            "rate:Q",
            title=rate_unit,
            scale=alt.Scale(type="log", domain=self.y_domain, nice=False),
            axis=alt.Axis(values=ticks(self.y_domain), format="~g"),
        )
        return x, y


@dataclass(frozen=True, slots=True)
class RoofLine:
    """A roof between its two ends (intensity, rate); `label` is its name with its figures."""

    name: str
    label: str
    kind: Literal["bandwidth", "compute"]
    ends: tuple[tuple[float, float], tuple[float, float]]
    dashed: bool = False  # of the datasheet
    main: bool = False  # drawn heavier
    labelled: bool = True
    colour: str = GREY


def in_frame(chart: Any, height: float = HEIGHT) -> Spec:
    """The spec of a roofline, whose plot keeps its size."""
    return finished(chart, width=WIDTH, height=height, autosize={"type": "pad"})


def bandwidth_ends(
    slope: float, top: float, frame: Frame
) -> tuple[tuple[float, float], tuple[float, float]]:
    """A roof that rises by `slope` from the frame's edge to the rate `top`."""
    start = max(frame.x_domain[0], frame.y_domain[0] / slope)
    return (start, start * slope), (top / slope, top)


def compute_ends(
    rate: float, steepest: float, frame: Frame
) -> tuple[tuple[float, float], tuple[float, float]]:
    """A flat roof from the steepest bandwidth roof to the frame's right edge."""
    return (max(frame.x_domain[0], rate / steepest), rate), (frame.x_domain[1], rate)


def ticks(domain: list[float]) -> list[float]:
    """Round values for a logarithmic axis: decades, and 2 and 5 between them when few."""
    exponents = range(math.floor(math.log10(domain[0])), math.ceil(math.log10(domain[1])) + 1)
    steps = (1, 2, 5) if len(exponents) <= 4 else (1,)
    values = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [value for value in values if domain[0] <= value <= domain[1]]


def line_layers(lines: Sequence[RoofLine], x: alt.X, y: alt.Y) -> list[Any]:
    """The roofs without their labels."""
    # Dashed ones first, under the others.
    looks = sorted({(not line.dashed, line.main, line.colour) for line in lines})
    return [_lines_of(lines, look, x, y) for look in looks]


def _lines_of(lines: Sequence[RoofLine], look: tuple[bool, bool, str], x: alt.X, y: alt.Y) -> Any:
    """The lines of one look: solid, heavy, colour."""
    solid, heavy, colour = look
    rows = [
        {"line": number, "label": line.label, "intensity": intensity, "rate": rate}
        for number, line in enumerate(lines)
        for intensity, rate in line.ends
        if (not line.dashed, line.main, line.colour) == look
    ]
    return (
        chart_of(rows)
        .mark_line(
            color=colour,
            strokeWidth=2.6 if heavy else 1.5,
            strokeDash=[] if solid else [5, 4],
            clip=True,
        )
        .encode(x=x, y=y, detail="line:N")
    )


def line_boxes(lines: Sequence[RoofLine], frame: Frame) -> list[Box]:
    """The pixels that the roofs cover."""
    return [box for line in lines for box in stroke(*(frame.pixels(*end) for end in line.ends))]


def _decades(domain: list[float]) -> float:
    return math.log10(domain[1] / domain[0])


_INTEGERS = ("int8", "int4")
_SAME = 0.005  # a datasheet's figure that was reached so closely needs no second line


def roof_lines(
    rising: Sequence[BandwidthRoof],
    flat: Sequence[ComputeRoof],
    heavy: tuple[BandwidthRoof, ComputeRoof],
    frame: Frame,
    scale: float,
) -> list[RoofLine]:
    """One or two lines per memory level and per data type, in units of `scale` FLOP/s.

    `heavy` ones stand out. The name stands on the upper of two lines that are close together.
    """
    top = max(rates_of(flat)) / scale
    reached_top = max(roof.flops_per_s for roof in flat) / scale
    steepest = max(rates_of(rising)) / scale
    lines = []
    for roof in rising:
        pair = (roof.reached_bytes_per_s, roof.spec_bytes_per_s)
        label = _rate_label(roof.level, roof, *pair, "B/s")
        for rate, dashed, labelled in _pair(*pair, frame):
            ends = bandwidth_ends(rate / scale, top if dashed else reached_top, frame)
            main = roof is heavy[0] and rate == roof.bytes_per_s
            lines.append(RoofLine(roof.level, label, "bandwidth", ends, dashed, main, labelled))
    for names, peak in _merged(flat):
        name = ", ".join(names)
        rates = (peak.reached_flops_per_s, peak.spec_flops_per_s)
        label = _rate_label(
            name, peak, *rates, "OP/s" if set(names) <= set(_INTEGERS) else "FLOP/s"
        )
        for rate, dashed, labelled in _pair(*rates, frame):
            ends = compute_ends(rate / scale, steepest, frame)
            main = heavy[1].dtype in names and rate == peak.flops_per_s
            lines.append(RoofLine(name, label, "compute", ends, dashed, main, labelled))
    return lines


def rates_of(roofs: Iterable[BandwidthRoof | ComputeRoof]) -> list[float]:
    """All rates that are drawn, reached and of datasheets."""
    rates: list[float | None] = []
    for roof in roofs:
        if isinstance(roof, BandwidthRoof):
            rates += [roof.reached_bytes_per_s, roof.spec_bytes_per_s]
        else:
            rates += [roof.reached_flops_per_s, roof.spec_flops_per_s]
    return [rate for rate in rates if rate is not None]


def drawn_peaks(
    roofs: Roofs,
    chosen: PeakDtype | None,
    dtypes: Sequence[PeakDtype] | None,
    unit: Literal["vector", "matrix"] | None,
) -> list[ComputeRoof]:
    """One flat roof per data type, from the lowest; rates that are only derived on demand."""
    wanted = dtypes or [
        roof.dtype for roof in roofs.compute if roof.basis != "derived" or roof.dtype == chosen
    ]
    found = {name: roofs.peak(name, unit) or roofs.peak(name) for name in wanted}
    return sorted((roof for roof in found.values() if roof), key=lambda roof: roof.flops_per_s)


def _pair(
    reached: float | None, spec: float | None, frame: Frame
) -> list[tuple[float, bool, bool]]:
    """(rate, dashed, labelled) of the line that was reached and of the datasheet's."""
    if reached is None or spec is None or abs(spec / reached - 1) <= _SAME:
        return [(reached, False, True)] if reached is not None else [(spec or 0.0, True, True)]
    distance = abs(frame.pixels(1.0, spec)[1] - frame.pixels(1.0, reached)[1])
    on_spec = spec > reached and distance < 1.5 * LINE
    return [(reached, False, not on_spec), (spec, True, on_spec)]


def _merged(flat: Sequence[ComputeRoof]) -> list[tuple[list[PeakDtype], ComputeRoof]]:
    """Data types of equal rates share a line: fp16 and bf16 of a GPU."""
    groups: dict[tuple[float | None, float | None, bool], list[ComputeRoof]] = {}
    for roof in flat:
        key = (roof.reached_flops_per_s, roof.spec_flops_per_s, roof.dtype in _INTEGERS)
        groups.setdefault(key, []).append(roof)
    return [([roof.dtype for roof in group], group[0]) for group in groups.values()]


def _rate_label(
    name: str,
    roof: BandwidthRoof | ComputeRoof,
    reached: float | None,
    spec: float | None,
    unit: str,
) -> str:
    """ "HBM 1.35 TB/s (datasheet 1.56 TB/s)"."""
    rate = units.si(spec if reached is None else reached, unit)
    if roof.basis == "derived":
        return f"{name} {rate} (half of fp32)"
    promised = units.si(spec, unit)
    if reached is None or spec is None or promised == rate:
        return f"{name} {rate}"
    return f"{name} {rate} (datasheet {promised})"
