"""The ladder of a climb as bars: what each rung was measured at, and what was predicted."""

from typing import Any

import altair as alt

from topout import units
from topout.records import Climb
from topout.records.climb import unit_of
from topout.report.charts.theme import (
    VALUE_MARGIN,
    VERDICT_COLOURS,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    tooltips,
)
from topout.report.climb.rung import RungRow, rung_rows
from topout.report.figures import (
    Phase,
    bound_of,
    phase_result,
    predicted_tokens_per_s,
    rate_title,
    sample_tokens_per_s,
)
from topout.roofline import share_of

LADDER_CAPTION = (
    "Bar and figure: median. Line on the bar: its 95 % interval. Dots: the single runs. "
    "Triangle under the bar: what the cost model predicted before the rung ran."
)
_STEP = 36  # pixels per rung
_BAR = 18  # pixels of it that the bar takes
# The predicted mark stands under the bar, so that the figure beside the bar is the measured one's.
_UNDER = _BAR / 2 + 6


def ladder_chart(climb: Climb, phase: Phase) -> Spec:
    """A bar per rung in the order climbed: median, 95 % interval, single runs and prediction."""
    rows = rung_rows(climb)
    bars = [_bar(climb, row, phase) for row in rows]
    order = [row.label for row in rows]
    y = names_axis("label", order, 190)
    scale = alt.Scale(domain=[0, _longest(bars) * 1.02], nice=False)
    x = alt.X(
        "rate:Q",
        scale=scale,
        title=rate_title(climb.workload, phase),
        axis=alt.Axis(tickCount=6),
    )
    base = chart_of(bars)
    layers = alt.layer(
        base.mark_bar(height=_BAR, opacity=0.85, cornerRadiusEnd=2).encode(
            x=x, y=y, color=_verdict_colour(bars), tooltip=_BAR_TOOLTIP
        ),
        _runs(climb, rows, phase, y),
        base.mark_rule(color="currentColor", strokeWidth=1.6).encode(
            x="low:Q", x2="high:Q", y=y, tooltip=_BAR_TOOLTIP
        ),
        base.mark_point(
            shape="triangle-up",
            filled=True,
            opacity=1,
            color="currentColor",
            yOffset=_UNDER,
            size=44,
        ).encode(x="predicted_rate:Q", y=y, tooltip=_BAR_TOOLTIP),
        base.mark_text(align="left", dx=9, fontWeight=600).encode(x="end:Q", y=y, text="value:N"),
    )
    return finished(layers, height=_STEP * len(rows), padding=VALUE_MARGIN)


def _bar(climb: Climb, row: RungRow, phase: Phase) -> Row:
    result, unit = phase_result(row.rung, phase), unit_of(climb.workload)
    predicted = predicted_tokens_per_s(climb.workload, row.rung, phase)
    bar: Row = {
        "label": row.label,
        "verdict": row.verdict,
        "stack": row.stack,
        "reason": row.rung.reason,
        "speedup": row.speedup.line,
        "predicted": "" if predicted is None else f"{units.significant(predicted)} {unit}",
        "value": row.verdict,
        "end": 0.0,
    }
    if result is None:
        return bar
    rate = result.tokens_per_s
    rates = [sample_tokens_per_s(s, climb.workload, phase) or 0.0 for s in row.rung.samples]
    bar |= {
        "rate": rate.median,
        "low": rate.low,
        "high": rate.high,
        "measured": f"{units.significant(rate.median)} {unit}, 95 % interval "
        f"{units.significant(rate.low)} to {units.significant(rate.high)}",
        "value": units.significant(rate.median),
        "end": max([rate.high, *rates]),
        "bound": bound_of(result),
        "utilization": f"MFU {share_of(result.mfu_of_ceiling)}, "
        f"MBU {share_of(result.mbu_of_ceiling)} of the measured ceilings",
    }
    if predicted is not None:
        bar["predicted_rate"] = predicted
    return bar


_BAR_TOOLTIP = tooltips(
    "label: rung, stack: in force, verdict, reason, measured, predicted, speedup: over rival, "
    "bound, utilization"
)


def _runs(climb: Climb, rows: list[RungRow], phase: Phase, y: alt.Y) -> Any:
    """Every single run as a dot on its bar, spread over the bar's height so that none hides."""
    dots, unit = [], unit_of(climb.workload)
    for row in rows:
        for number, sample in enumerate(row.rung.samples):
            rate = sample_tokens_per_s(sample, climb.workload, phase)
            if rate is not None:
                # Multiples of the golden ratio fill the height evenly for any number of runs.
                offset = (number * 0.618034) % 1 - 0.5
                dots.append(
                    {
                        "label": row.label,
                        "rate": rate,
                        "offset": offset,
                        "run": number + 1,
                        "measured": f"{units.significant(rate, 4)} {unit}",
                        "stolen": units.percent(sample.stolen_share, 1),
                        "bandwidth": units.bytes_per_s(sample.ceiling_bytes_per_s),
                    }
                )
    return (
        chart_of(dots)
        .mark_circle(color="currentColor", size=13, opacity=0.5)
        .encode(
            x="rate:Q",
            y=y,
            yOffset=alt.YOffset("offset:Q", scale=alt.Scale(domain=[-1, 1])),
            tooltip=tooltips(
                "label: rung, run, measured, stolen: CPU time stolen, "
                "bandwidth: bandwidth just before"
            ),
        )
    )


def _verdict_colour(bars: list[Row]) -> alt.Color:
    measured = {bar["verdict"] for bar in bars if "rate" in bar}
    shown = {verdict: hue for verdict, hue in VERDICT_COLOURS.items() if verdict in measured}
    return coloured("verdict", shown, title=None)


def _longest(bars: list[Row]) -> float:
    ends = (max(bar["end"], bar.get("predicted_rate", 0.0)) for bar in bars)
    return max(ends, default=0.0) or 1.0
