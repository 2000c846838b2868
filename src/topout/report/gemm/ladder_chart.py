"""The ladder of versions as bars: FLOP/s of each, the lower roof as a line, the rivals below."""

from typing import Any

import altair as alt

from topout import units
from topout.gemm.findings import bound_rate
from topout.records import GemmShape
from topout.report.charts.theme import (
    BLUE,
    GREY,
    ORANGE,
    VALUE_MARGIN,
    Spec,
    chart_of,
    finished,
)
from topout.report.gemm.rows import GemmRow, gemm_rows, rate_unit

_STEP = 30  # pixels per bar
_CROSSING = 0.85  # of the roof: from here on a figure would stand on its line
_BAR = 17  # pixels of it that the bar takes
_KINDS = ("version", "rival", "rival, packed ahead")
_COLOURS = (BLUE, GREY, ORANGE)

Row = dict[str, Any]


def gemm_ladder_chart(shape: GemmShape) -> Spec:
    """A bar per version and rival with its 95 % interval, and a line at the lower roof."""
    bars = [_bar(shape, row) for row in gemm_rows(shape)]
    unit = rate_unit(shape)
    roof = _roof(shape)
    top = max([bar["end"] for bar in bars] + ([roof] if roof else []))
    y = alt.Y(
        "label:N",
        sort=[bar["label"] for bar in bars],
        title=None,
        axis=alt.Axis(labelLimit=190, grid=False),
    )
    x = alt.X(
        "rate:Q",
        scale=alt.Scale(domain=[0, (top or 1.0) * 1.02], nice=False),
        title=f"G{unit}/s",
        axis=alt.Axis(tickCount=6),
    )
    base = chart_of(bars)
    shown = [kind for kind in _KINDS if any(bar["kind"] == kind for bar in bars)]
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=shown, range=[_COLOURS[_KINDS.index(kind)] for kind in shown]),
        legend=alt.Legend(orient="bottom"),  # above stands the name of the roof
    )
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
    return finished(alt.layer(*layers), height=_STEP * len(bars), padding=_margin())


def _margin() -> dict[str, int]:
    """Room for the name of the roof above."""
    return {**VALUE_MARGIN, "top": 18}


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
    kind = _KINDS[0]
    if row.is_rival:
        kind = _KINDS[2] if result.packed_ahead else _KINDS[1]
    bar: Row = {
        "label": row.name if not row.is_rival else f"{row.name} ",  # a version may share a name
        "kind": kind,
        "reason": result.reason or "",
        "previous": f"{row.over_previous} {row.over_previous_interval}".strip(),
        "naive": f"{row.over_naive} {row.over_naive_interval}".strip(),
        "rival": f"{row.over_rival} {row.over_rival_interval}".strip(),
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


_TOOLTIP = [
    alt.Tooltip("label:N", title="name"),
    alt.Tooltip("measured:N"),
    alt.Tooltip("share:N", title="of the ceiling"),
    alt.Tooltip("previous:N", title="over the one before it"),
    alt.Tooltip("naive:N", title="over naive"),
    alt.Tooltip("rival:N", title="over the best rival"),
    alt.Tooltip("packed:N", title="B packed ahead"),
    alt.Tooltip("reason:N"),
]
