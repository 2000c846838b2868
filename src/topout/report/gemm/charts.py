"""The charts of a comparison: versions as bars, rates over threads, products on the roofline."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from topout import units
from topout.cost.roofs import RooflinePoint
from topout.gemm.findings import bound_rate
from topout.records import GemmReport, GemmResult, GemmShape, Hardware
from topout.records.gemm import GemmDtype
from topout.report.charts.theme import (
    BLUE,
    GREY,
    ORANGE,
    VALUE_MARGIN,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    own_colours,
    tooltips,
)
from topout.report.document import Chart
from topout.report.gemm.rows import (
    GemmRow,
    best_of,
    gemm_rows,
    median_rate,
    rate_unit,
    shape_title,
    size_of,
)
from topout.report.roofline.hierarchical import ROOFLINE_CAPTION, hierarchical_roofline
from topout.roofline import ceilings_at

_MOST_LADDERS = 12  # a page of more is not read


def gemm_charts(report: GemmReport) -> list[Chart]:
    """Ladders on the most threads, rates over threads, and a roofline per data type."""
    widest = [each for each in report.shapes if each.threads == report.threads]
    charts = [
        Chart(f"ladder{number}", shape_title(shape), _LADDER, gemm_ladder_chart(shape))
        for number, shape in enumerate(widest[:_MOST_LADDERS])
        if _measured(shape)
    ]
    for dtype in dict.fromkeys(shape.dtype for shape in widest):
        spec = gemm_roofline(report, dtype)
        if spec is not None:
            title = f"The roofline, {dtype}"
            charts.append(Chart(f"roofline_{dtype}", title, ROOFLINE_CAPTION, spec))
    for number, shape in enumerate(widest[:_MOST_LADDERS]):
        group = [each for each in report.shapes if _same_product(each, shape)]
        if sum(_measured(each) for each in group) > 1:
            words = filter(None, (size_of(shape), shape.label, shape.dtype))
            title = f"Over threads: {', '.join(words)}"
            spec = gemm_scaling_chart(group)
            charts.append(Chart(f"threads{number}", title, _THREADS, spec))
    return charts


def _measured(shape: GemmShape) -> bool:
    return any(each.flops_per_s for each in [*shape.versions, *shape.rivals])


def _same_product(one: GemmShape, other: GemmShape) -> bool:
    return (one.m, one.n, one.k, one.dtype) == (other.m, other.n, other.k, other.dtype)


_LADDER = (
    "Bar: median rate; line on it: its 95 % interval. Dashed: what the lower roof allows, "
    "arithmetic or memory, measured in the same rounds. Each version stands on the one above it."
)
_THREADS = (
    "Both axes are logarithmic: a line that is parallel to the ceiling's loses nothing by more "
    "threads. The best rival is dashed. Counts of threads were measured one after the other."
)


_STEP = 30  # pixels per bar
_CROSSING = 0.85  # of the roof: from here on a figure would stand on its line
_BAR = 17  # pixels of it that the bar takes
_MARGIN = {**VALUE_MARGIN, "top": 18}  # the name of the roof stands above
_KINDS = {"version": BLUE, "rival": GREY, "rival, packed ahead": ORANGE}


def gemm_ladder_chart(shape: GemmShape) -> Spec:
    """A bar per version and rival with its 95 % interval, and a line at the lower roof."""
    bars = [_bar(shape, row) for row in gemm_rows(shape)]
    unit = rate_unit(shape)
    roof = _roof(shape)
    top = max([bar["end"] for bar in bars] + ([roof] if roof else []))
    y = names_axis("label", [bar["label"] for bar in bars], 190)
    x = alt.X(
        "rate:Q",
        scale=alt.Scale(domain=[0, (top or 1.0) * 1.02], nice=False),
        title=f"G{unit}/s",
        axis=alt.Axis(tickCount=6),
    )
    base = chart_of(bars)
    shown = {kind: _KINDS[kind] for kind in _KINDS if any(bar["kind"] == kind for bar in bars)}
    # Above stands the name of the roof.
    colour = coloured("kind", shown, title=None, legend=alt.Legend(orient="bottom"))
    layers = [
        base.mark_bar(height=_BAR, opacity=0.85, cornerRadiusEnd=2).encode(
            x=x, y=y, color=colour, tooltip=_TOOLTIP
        ),
        base.mark_rule(color="currentColor", strokeWidth=1.6).encode(
            x="low:Q", x2="high:Q", y=y, tooltip=_TOOLTIP
        ),
        base.mark_text(align="left", dx=7, fontWeight=600).encode(x="end:Q", y=y, text="value:N"),
    ]
    if roof is not None:
        layers += _roof_layers(roof, _roof_name(shape, roof))
    return finished(alt.layer(*layers), height=_STEP * len(bars), padding=_MARGIN)


def _roof(shape: GemmShape) -> float | None:
    """G(FL)OP/s that the lower roof allows."""
    rate = bound_rate(shape)
    return rate / 1e9 if rate else None


def _roof_name(shape: GemmShape, roof: float) -> str:
    ceiling = shape.ceiling_flops_per_s
    is_arithmetic = ceiling is not None and roof == ceiling.median / 1e9
    figure = f"{units.significant(roof)} G{rate_unit(shape)}/s"
    return f"ceiling {figure}" if is_arithmetic else f"memory allows {figure}"


def _roof_layers(rate: float, text: str) -> list[Any]:
    rows = [{"roof": rate, "text": text}]
    return [
        chart_of(rows)
        .mark_rule(strokeDash=[5, 4], color="currentColor", opacity=0.7)
        .encode(x="roof:Q"),
        chart_of(rows)
        .mark_text(align="right", baseline="bottom", dy=-3, fontSize=11, opacity=0.85)
        .encode(x="roof:Q", y=alt.value(0), text="text:N"),
    ]


def _bar(shape: GemmShape, row: GemmRow) -> Row:
    result = row.result
    kind = "version"
    if row.is_rival:
        kind = "rival, packed ahead" if result.packed_ahead else "rival"
    bar: Row = {
        "label": row.name if not row.is_rival else f"{row.name} ",  # a version may share a name
        "kind": kind,
        "reason": result.reason or "",
        "previous": row.over_previous.line,
        "naive": row.over_naive.line,
        "rival": row.over_rival.line,
        "share": row.of_ceiling,
        "packed": "before the clock started" if result.packed_ahead else "no",
        "value": result.status,
        "end": 0.0,
    }
    rate = result.flops_per_s
    if rate is None:
        return bar
    unit = rate_unit(shape)
    return bar | {
        "rate": rate.median / 1e9,
        "low": rate.low / 1e9,
        "high": rate.high / 1e9,
        "measured": f"{units.si(rate.median, f'{unit}/s')}, 95 % interval "
        f"{units.si(rate.low, f'{unit}/s')} to {units.si(rate.high, f'{unit}/s')}",
        "value": units.significant(rate.median / 1e9),
        "end": _end_of_text(shape, max(rate.median, rate.high) / 1e9),
    }


def _end_of_text(shape: GemmShape, end: float) -> float:
    """Where the figure beside a bar begins: beyond the roof, if it would cross its line."""
    roof = _roof(shape) or 0.0
    return roof if _CROSSING * roof < end < roof else end


_TOOLTIP = tooltips(
    "label: name, measured, share: of the ceiling, previous: over the one before it, "
    "naive: over naive, rival: over the best rival, packed: B packed ahead, reason"
)


_HEIGHT = 300
_CEILING = "ceiling"


def gemm_scaling_chart(shapes: Sequence[GemmShape]) -> Spec:
    """FLOP/s over threads of one product; the rival that is best on the most threads is dashed."""
    rival = best_of(shapes[-1].rivals)
    rows = [row for shape in shapes for row in _rows(shape, rival)]
    names = list(dict.fromkeys(row["name"] for row in rows))
    counts = sorted({row["threads"] for row in rows})
    hues = own_colours(name for name in names if name != _CEILING)
    x = alt.X(
        "threads:Q",
        title="threads",
        axis=alt.Axis(values=counts, format="d", grid=False),
        scale=alt.Scale(type="log", base=2, domain=[counts[0], counts[-1]], nice=False),
    )
    y = alt.Y(
        "rate:Q",
        title=f"G{rate_unit(shapes[0])}/s",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(tickCount=6),
    )
    base = chart_of(rows).encode(
        x=x,
        y=y,
        color=coloured(
            "name",
            {name: hues.get(name, GREY) for name in names},
            title=None,
            sort=names,
            legend=alt.Legend(columns=3, symbolType="stroke"),
        ),
        tooltip=[*tooltips("name"), alt.Tooltip("threads:Q"), *tooltips("measured, efficiency")],
    )
    dash = alt.StrokeDash(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=["solid", "dashed"], range=[[1, 0], [5, 4]]),
        legend=None,
    )
    layers: list[Any] = [
        base.mark_line(strokeWidth=1.8).encode(strokeDash=dash),
        base.mark_point(filled=True, size=46, opacity=1),
    ]
    return finished(alt.layer(*layers), height=_HEIGHT)


def _rows(shape: GemmShape, rival: GemmResult | None) -> list[dict[str, Any]]:
    rows = []
    if shape.ceiling_flops_per_s is not None:
        rows.append(_row(shape, _CEILING, shape.ceiling_flops_per_s.median, "dashed", None))
    rivals = [each for each in shape.rivals if rival and each.name == rival.name]
    for results, kind in ((shape.versions, "solid"), (rivals, "dashed")):
        rows += [
            _row(shape, each.name, median_rate(each), kind, each)
            for each in results
            if each.flops_per_s is not None
        ]
    return rows


def _row(
    shape: GemmShape, name: str, rate: float, kind: str, result: GemmResult | None
) -> dict[str, Any]:
    efficiency = result.parallel_efficiency if result is not None else None
    return {
        "name": name,
        "threads": shape.threads,
        "rate": rate / 1e9,
        "kind": kind,
        "measured": units.si(rate, f"{rate_unit(shape)}/s"),
        "efficiency": units.percent(efficiency),
    }


_MOST_IN_FULL = 1  # products of which every version is drawn; of more the best alone


def gemm_roofline(report: GemmReport, dtype: GemmDtype) -> Spec | None:
    """The roofline with the products of a data type on the most threads; None without ceilings."""
    shapes = [
        each for each in report.shapes if each.dtype == dtype and each.threads == report.threads
    ]
    points = _points(shapes)
    if report.ceilings is None or not points:
        return None
    ceilings = ceilings_at(report.ceilings, report.threads)
    if not any(each.dtype == dtype for each in ceilings.compute) or not ceilings.bandwidth:
        return None
    hardware = Hardware(
        name="here",
        full_name=report.machine.cpu_model,
        device="cpu",
        vendor=report.machine.cpu_vendor or "unknown",
        memory_bytes=report.machine.memory_bytes,
        ceilings=ceilings,
    )
    return hierarchical_roofline(hardware, points, dtype=dtype)


def _points(shapes: list[GemmShape]) -> list[RooflinePoint]:
    if len(shapes) <= _MOST_IN_FULL:
        return [
            _point(shape, each, each.name, kind)
            for shape in shapes
            for kind, results in (("versions", shape.versions), ("rivals", shape.rivals))
            for each in results
            if _has_place(shape, each)
        ]
    points = []
    for shape in shapes:
        for kind, results in (("best version", shape.versions), ("best rival", shape.rivals)):
            best = best_of(results)
            if best is not None and shape.flops > 0:
                points.append(_point(shape, best, shape.label or size_of(shape), kind))
    return points


def _has_place(shape: GemmShape, result: GemmResult) -> bool:
    return result.flops_per_s is not None and shape.flops > 0


def _point(shape: GemmShape, result: GemmResult, name: str, group: str) -> RooflinePoint:
    return RooflinePoint(
        name=name,
        group=group,
        arithmetic_intensity=shape.arithmetic_intensity,
        flops_per_s=median_rate(result),
        predicted=False,
        dtype=shape.dtype,
        detail=f"{result.name}, {size_of(shape)}, "
        f"{units.seconds(shape.flops / median_rate(result))}",
    )
