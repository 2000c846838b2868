"""Rates over the number of threads: a line per version, the best rival, and the ceiling."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from topout import units
from topout.records import GemmResult, GemmShape
from topout.report.charts.theme import GREY, RUNG_COLOURS, Spec, chart_of, finished
from topout.report.gemm.rows import rate_unit

_HEIGHT = 300
_CEILING = "ceiling"


def gemm_scaling_chart(shapes: Sequence[GemmShape]) -> Spec:
    """FLOP/s over threads of one product; the rival that is best on the most threads is dashed."""
    rival = _best_rival(shapes[-1])
    rows = [row for shape in shapes for row in _rows(shape, rival)]
    names = list(dict.fromkeys(row["name"] for row in rows))
    counts = sorted({row["threads"] for row in rows})
    hues = iter(RUNG_COLOURS[1:] * len(names))
    colours = [GREY if name == _CEILING else next(hues) for name in names]
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
        color=alt.Color(
            "name:N",
            title=None,
            sort=names,
            scale=alt.Scale(domain=names, range=colours),
            legend=alt.Legend(columns=3, symbolType="stroke"),
        ),
        tooltip=[
            alt.Tooltip("name:N"),
            alt.Tooltip("threads:Q"),
            alt.Tooltip("measured:N"),
            alt.Tooltip("efficiency:N"),
        ],
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


def _best_rival(shape: GemmShape) -> str | None:
    measured = [each for each in shape.rivals if each.flops_per_s is not None]
    best = max(measured, key=_rate, default=None)
    return best.name if best is not None else None


def _rate(result: GemmResult) -> float:
    return result.flops_per_s.median if result.flops_per_s is not None else 0.0


def _rows(shape: GemmShape, rival: str | None) -> list[dict[str, Any]]:
    rows = []
    if shape.ceiling_flops_per_s is not None:
        rows.append(_row(shape, _CEILING, shape.ceiling_flops_per_s.median, "dashed", None))
    rivals = [each for each in shape.rivals if each.name == rival]
    for results, kind in ((shape.versions, "solid"), (rivals, "dashed")):
        rows += [
            _row(shape, each.name, _rate(each), kind, each)
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
