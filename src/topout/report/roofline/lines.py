"""The roofs of a machine as lines: solid where they were reached, dashed from the datasheet."""

from collections.abc import Iterable, Sequence
from typing import Literal

from topout import units
from topout.cost.roofs import BandwidthRoof, ComputeRoof, Roofs
from topout.records import PeakDtype
from topout.report.charts.labels import LINE
from topout.report.roofline.frame import Frame, RoofLine, bandwidth_ends, compute_ends

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
        label = _label(roof.level, roof, *pair, "B/s")
        for rate, dashed, labelled in _pair(*pair, frame):
            ends = bandwidth_ends(rate / scale, top if dashed else reached_top, frame)
            main = roof is heavy[0] and rate == roof.bytes_per_s
            lines.append(RoofLine(roof.level, label, "bandwidth", ends, dashed, main, labelled))
    for names, peak in _merged(flat):
        name = ", ".join(names)
        rates = (peak.reached_flops_per_s, peak.spec_flops_per_s)
        label = _label(name, peak, *rates, "OP/s" if set(names) <= set(_INTEGERS) else "FLOP/s")
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


def _label(
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
