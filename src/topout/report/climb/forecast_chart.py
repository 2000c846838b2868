"""A predicted ladder as bars, with the range in which each rate is expected."""

import altair as alt

from topout import units
from topout.records import ClimbForecast, PhasePrediction
from topout.records.climb import unit_of
from topout.report.charts.theme import (
    BLUE,
    GREY,
    VALUE_MARGIN,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    tooltips,
)
from topout.report.document import Chart
from topout.report.figures import (
    Phase,
    phase_name,
    phase_prediction,
    phases_of,
    predicted_tokens_per_s,
    rate_title,
)

_STEP = 30  # pixels per rung
_CAPTION = (
    "Bar and figure: predicted. Line: the range in which the rate is expected. Nothing was run."
)
_OUTLOOK = {True: "expected to help", False: "not expected to help"}
_TOOLTIP = tooltips("label: rung, outlook, predicted, within, bound, change")


def forecast_charts(forecast: ClimbForecast) -> list[Chart]:
    """The last phase first: that is the one that users wait for."""
    work = forecast.workload
    return [
        Chart(
            phase,
            f"The ladder, predicted: {phase_name(work, phase)}",
            _CAPTION,
            _bars(forecast, phase),
        )
        for phase in reversed(phases_of(work))
    ]


def _bars(forecast: ClimbForecast, phase: Phase) -> Spec:
    work = forecast.workload
    unit = unit_of(work)
    bars: list[Row] = []
    for rung in forecast.rungs:
        expected = phase_prediction(rung, phase)
        rate = predicted_tokens_per_s(work, rung, phase)
        if expected is not None and rate is not None:
            figures = _rates(expected, rate, unit)
            about = {"label": rung.name, "outlook": _OUTLOOK[rung.helps], "change": rung.change}
            bars.append({**about, **figures})
    y = names_axis("label", [bar["label"] for bar in bars], 190)
    scale = alt.Scale(domain=[0, max(bar["end"] for bar in bars) * 1.02], nice=False)
    x = alt.X(
        "rate:Q",
        scale=scale,
        title=rate_title(work, phase),
        axis=alt.Axis(tickCount=6),
    )
    colours = {_OUTLOOK[True]: BLUE, _OUTLOOK[False]: GREY}
    base = chart_of(bars)
    layers = alt.layer(
        base.mark_bar(opacity=0.85, cornerRadiusEnd=2).encode(
            x=x, y=y, color=coloured("outlook", colours, title=None), tooltip=_TOOLTIP
        ),
        base.mark_rule(color="currentColor", strokeWidth=1.6).encode(
            x="low:Q", x2="high:Q", y=y, tooltip=_TOOLTIP
        ),
        base.mark_text(align="left", dx=9, fontWeight=600).encode(x="end:Q", y=y, text="value:N"),
    )
    return finished(layers, height=_STEP * len(bars), padding=VALUE_MARGIN)


def _rates(expected: PhasePrediction, rate: float, unit: str) -> Row:
    low = high = rate
    if expected.interval is not None:
        inputs = rate * expected.time_s
        low, high = inputs / expected.interval.high, inputs / expected.interval.low
    return {
        "rate": rate,
        "low": low,
        "high": high,
        "end": high,
        "value": units.significant(rate),
        "predicted": f"{units.significant(rate)} {unit}",
        "within": f"{units.significant(low)} to {units.significant(high)} {unit}",
        "bound": expected.bound,
    }
