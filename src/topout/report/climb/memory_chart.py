"""Memory by rung: the weights, and what the process held beside them at its peak."""

from typing import Any

import altair as alt

from topout import units
from topout.records import Climb
from topout.report.charts.theme import BLUE, GREY, VALUE_MARGIN, Spec, chart_of, finished
from topout.report.climb.rung_row import RungRow, rung_rows

_PARTS = {"weights": BLUE, "all else at the peak": GREY}
_MIB = 2**20


def memory_chart(climb: Climb) -> Spec:
    """Stacked bars per measured rung: weight bytes and the rest of the peak, in MiB."""
    rows = rung_rows(climb)
    bars = [part for row in rows for part in _parts(row)]
    totals = [_total(row) for row in rows]
    longest = max((total["end"] for total in totals), default=0.0) or 1.0
    scale = alt.Scale(domain=[0, longest], nice=False)
    order = [row.label for row in rows]
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=190, grid=False))
    tooltip = [
        alt.Tooltip("label:N", title="rung"),
        alt.Tooltip("weights:N"),
        alt.Tooltip("peak:N"),
    ]
    stacked = (
        chart_of(bars)
        .mark_bar(height=16, opacity=0.85)
        .encode(
            x=alt.X(
                "mib:Q",
                stack="zero",
                scale=scale,
                title="memory, MiB",
                axis=alt.Axis(tickCount=6),
            ),
            y=y,
            order=alt.Order("rank:Q"),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=list(_PARTS), range=list(_PARTS.values())),
            ),
            tooltip=tooltip,
        )
    )
    text = chart_of(totals).mark_text(align="left", dx=6).encode(x="end:Q", y=y, text="value:N")
    return finished(alt.layer(stacked, text), height=26 * len(rows), padding=VALUE_MARGIN)


def _parts(row: RungRow) -> list[dict[str, Any]]:
    weights, peak = row.rung.weight_bytes or 0, row.rung.peak_memory_bytes or 0
    common = {
        "label": row.label,
        "weights": units.memory(row.rung.weight_bytes),
        "peak": units.memory(row.rung.peak_memory_bytes),
    }
    # Weights mapped from a file or shared between processes can exceed the peak that was counted.
    rest = max(0, peak - weights)
    sizes = zip(_PARTS, (weights, rest), strict=True)
    return [
        {**common, "part": part, "rank": rank, "mib": size / _MIB}
        for rank, (part, size) in enumerate(sizes)
        if size
    ]


def _total(row: RungRow) -> dict[str, Any]:
    weights, peak = row.rung.weight_bytes, row.rung.peak_memory_bytes
    if peak is not None:
        value = units.memory(peak)
    elif weights is not None:
        value = f"weights {units.memory(weights)}, peak not measured"
    else:
        value = row.verdict if row.verdict in ("skipped", "failed") else "not measured"
    return {"label": row.label, "end": max(weights or 0, peak or 0) / _MIB, "value": value}
