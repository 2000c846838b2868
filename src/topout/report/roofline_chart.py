"""The roofline: the measured ceilings of the machine, and each rung's phases beneath them."""

import math
from typing import Any

import altair as alt

from topout import units
from topout.errors import InputError
from topout.records import BandwidthCeiling, Ceilings, Climb, ComputeCeiling, PhaseResult
from topout.report.chart_theme import GREY, Spec, chart_of, finished, rung_colour
from topout.report.phase_rates import PHASES, Phase, phase_result
from topout.report.rung_row import RungRow, rung_rows
from topout.roofline import Placement, place

_HEIGHT = 460
_LABEL_GAP = 14.0  # pixels between the lines of text
# Ceilings and runs are both measurements: a point this little above a roof is on it.
ROOF_TOLERANCE = 0.05

Row = dict[str, Any]


def roofline_chart(climb: Climb) -> Spec:
    """Log-log: FLOP/s over FLOP/byte, roofs as lines, a point per rung and phase."""
    points = _points(climb)
    roofs = _Roofs(climb)
    x_domain, y_domain = _domains(points, roofs)
    lines = roofs.lines(x_domain, y_domain)
    _place_labels(points, y_domain)
    slope_angle = _slope_angle(x_domain, y_domain)
    x = alt.X(
        "intensity:Q",
        title="arithmetic intensity, FLOP/byte",
        scale=alt.Scale(type="log", domain=x_domain, nice=False),
        axis=alt.Axis(values=_ticks(x_domain), format="~g"),
    )
    y = alt.Y(
        "rate:Q",
        title="GFLOP/s",
        scale=alt.Scale(type="log", domain=y_domain, nice=False),
        axis=alt.Axis(values=_ticks(y_domain), format="~g"),
    )
    layers = [*_roof_layers(lines, slope_angle, x, y), *_point_layers(climb, points, x, y)]
    return finished(alt.layer(*layers), height=_HEIGHT)


def placement(result: PhaseResult) -> Placement | None:
    """Where a measured phase stands under its own ceilings; None when they are not known."""
    if result.ceiling_flops_per_s is None or result.ceiling_bytes_per_s is None:
        return None
    try:
        return place(
            result.arithmetic_intensity,
            result.flops / result.time_s.median,
            result.ceiling_flops_per_s,
            result.ceiling_bytes_per_s,
            ROOF_TOLERANCE,
        )
    except (InputError, ZeroDivisionError):
        return None


class _Roofs:
    """The ceilings that belong on the chart: those of the threads that the climb ran on."""

    def __init__(self, climb: Climb) -> None:
        ceilings = climb.ceilings
        threads = climb.workload.threads
        self.compute = _compute(ceilings, threads) if ceilings else []
        self.bandwidth = _bandwidth(ceilings, threads) if ceilings else []

    def lines(self, x_domain: list[float], y_domain: list[float]) -> list[Row]:
        """Two ends per roof in chart units (FLOP/byte and GFLOP/s), with its label."""
        top = max((c.flops_per_s for c in self.compute), default=y_domain[1] * 1e9) / 1e9
        steepest = max((b.bytes_per_s for b in self.bandwidth), default=math.inf) / 1e9
        lines = []
        for b in self.bandwidth:
            slope = b.bytes_per_s / 1e9
            start = max(x_domain[0], y_domain[0] / slope)
            ends = [(start, start * slope), (top / slope, top)]
            rate = units.bytes_per_s(b.bytes_per_s)
            lines.append(_line(b.level, rate, "bandwidth", ends))
        for c in self.compute:
            height = c.flops_per_s / 1e9
            ends = [(max(x_domain[0], height / steepest), height), (x_domain[1], height)]
            rate = units.si(c.flops_per_s, "OP/s" if c.dtype == "int8" else "FLOP/s")
            lines.append(_line(c.dtype, rate, "compute", ends))
        return lines


def _line(name: str, rate: str, kind: str, ends: list[tuple[float, float]]) -> Row:
    return {"name": name, "label": f"{name} {rate}", "kind": kind, "ends": ends}


def _compute(ceilings: Ceilings, threads: int) -> list[ComputeCeiling]:
    best: dict[str, ComputeCeiling] = {}
    for ceiling in ceilings.compute:
        known = best.get(ceiling.dtype)
        if known is None or _nearer(ceiling, known, threads):
            best[ceiling.dtype] = ceiling
    return sorted(best.values(), key=lambda c: c.flops_per_s)


def _bandwidth(ceilings: Ceilings, threads: int) -> list[BandwidthCeiling]:
    best: dict[str, BandwidthCeiling] = {}
    for ceiling in ceilings.bandwidth:
        known = best.get(ceiling.level)
        if known is None or _nearer(ceiling, known, threads):
            best[ceiling.level] = ceiling
    return sorted(best.values(), key=lambda b: b.bytes_per_s)


def _nearer(
    ceiling: ComputeCeiling | BandwidthCeiling,
    known: ComputeCeiling | BandwidthCeiling,
    threads: int,
) -> bool:
    """Whether `ceiling` fits the thread count better than `known`, or as well and is higher."""
    return _fit(ceiling, threads) > _fit(known, threads)


def _fit(ceiling: ComputeCeiling | BandwidthCeiling, threads: int) -> tuple[int, float]:
    rate = ceiling.flops_per_s if isinstance(ceiling, ComputeCeiling) else ceiling.bytes_per_s
    return -abs(ceiling.threads - threads), rate


def _points(climb: Climb) -> list[Row]:
    points = []
    for number, row in enumerate(rung_rows(climb)):
        for phase in PHASES:
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
        "share": units.percent(placed.attained_share if placed else None),
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


def _ticks(domain: list[float]) -> list[float]:
    """Round values for a logarithmic axis: decades, and 2 and 5 between them when few."""
    exponents = range(math.floor(math.log10(domain[0])), math.ceil(math.log10(domain[1])) + 1)
    steps = (1, 2, 5) if len(exponents) <= 4 else (1,)
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [tick for tick in ticks if domain[0] <= tick <= domain[1]]


def _slope_angle(x_domain: list[float], y_domain: list[float]) -> dict[str, str]:
    """The angle of a bandwidth roof on the screen, as an expression of the chart's size."""
    x_decades = math.log10(x_domain[1] / x_domain[0])
    y_decades = math.log10(y_domain[1] / y_domain[0])
    return {"expr": f"-atan2(height / {y_decades}, width / {x_decades}) * 180 / PI"}


def _place_labels(points: list[Row], y_domain: list[float]) -> None:
    """Put the labels of each phase in a column beside its points, in their order and apart.

    Decode stands at the left of the chart and prefill at the right: the columns stand between.
    """
    pixels_per_decade = _HEIGHT / math.log10(y_domain[1] / y_domain[0])
    for phase in PHASES:
        column = sorted((p for p in points if p["phase"] == phase), key=lambda p: float(p["rate"]))
        if not column:
            continue
        intensities = [p["intensity"] for p in column]
        beside = max(intensities) * 1.35 if phase == "decode" else min(intensities) / 1.35
        wanted = [math.log10(p["rate"]) * pixels_per_decade for p in column]
        for point, height in zip(column, _apart(wanted, _LABEL_GAP), strict=True):
            point["label_rate"] = 10 ** (height / pixels_per_decade)
            point["label_intensity"] = beside


def _apart(wanted: list[float], gap: float) -> list[float]:
    """Ascending positions at least `gap` apart, each group centred on what its members wanted."""
    groups: list[list[float]] = []
    for position in wanted:
        groups.append([position])
        while len(groups) > 1 and _first(groups[-1], gap) - _last(groups[-2], gap) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_first(group, gap) + gap * place for group in groups for place in range(len(group))]


def _first(group: list[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _last(group: list[float], gap: float) -> float:
    return _first(group, gap) + gap * (len(group) - 1)


def _roof_layers(lines: list[Row], slope_angle: dict[str, str], x: alt.X, y: alt.Y) -> list[Any]:
    segments = [
        {"label": line["label"], "intensity": end[0], "rate": end[1]}
        for line in lines
        for end in line["ends"]
    ]
    bandwidth = [_label(line, 0) for line in lines if line["kind"] == "bandwidth"]
    compute = [_label(line, 1) for line in lines if line["kind"] == "compute"]
    text: dict[str, Any] = {
        "fontSize": 11,
        "opacity": 0.8,
        # On a narrow screen the rate would run into the names of the rungs.
        "text": {"expr": "width < 460 ? datum.name : datum.label"},
    }
    return [
        chart_of(segments)
        .mark_line(color=GREY, strokeWidth=1.5, clip=True)
        .encode(x=x, y=y, detail="label:N"),
        chart_of(bandwidth)
        .mark_text(align="left", baseline="bottom", dx=22, dy=-3, angle=slope_angle, **text)
        .encode(x=x, y=y),
        chart_of(compute)
        .mark_text(align="right", baseline="bottom", dy=-4, **text)
        .encode(x=x, y=y),
    ]


def _label(line: Row, end: int) -> Row:
    return {
        "name": line["name"],
        "label": line["label"],
        "intensity": line["ends"][end][0],
        "rate": line["ends"][end][1],
    }


def _point_layers(climb: Climb, points: list[Row], x: alt.X, y: alt.Y) -> list[Any]:
    rows = rung_rows(climb)
    colour = alt.Color(
        "label:N",
        legend=None,
        scale=alt.Scale(
            domain=[row.label for row in rows], range=[rung_colour(n) for n in range(len(rows))]
        ),
    )
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
        tooltip=[
            alt.Tooltip("label:N", title="rung"),
            alt.Tooltip("phase:N"),
            alt.Tooltip("verdict:N"),
            alt.Tooltip("measured:N"),
            alt.Tooltip("at_intensity:N", title="intensity"),
            alt.Tooltip("attainable:N"),
            alt.Tooltip("share:N", title="share of attainable"),
            alt.Tooltip("region:N"),
        ],
    )
    leaders = base.mark_rule(strokeWidth=0.8, opacity=0.7).encode(
        x=x, y=y, x2="label_intensity:Q", y2="label_rate:Q", color=colour
    )
    decode, prefill = (base.transform_filter(alt.datum.phase == phase) for phase in PHASES[::-1])
    where = {"x": alt.X("label_intensity:Q"), "y": alt.Y("label_rate:Q"), "text": "short:N"}
    return [
        leaders,
        marks,
        decode.mark_text(align="left", dx=3, fontSize=11).encode(**where),
        prefill.mark_text(align="right", dx=-3, fontSize=11).encode(**where),
    ]
