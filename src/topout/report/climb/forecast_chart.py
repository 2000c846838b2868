"""A predicted ladder as bars, with the range in which each rate is expected."""

import altair as alt

from topout import units
from topout.records import ClimbForecast, PhasePrediction
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
from topout.report.figures import Phase

_STEP = 30  # pixels per rung
_CAPTION = (
    "Bar and figure: predicted. Line: the range in which the rate is expected. Nothing was run."
)
_OUTLOOK = {True: "expected to help", False: "not expected to help"}
_TOOLTIP = tooltips("label: rung, outlook, predicted, within, bound, change")


def forecast_charts(forecast: ClimbForecast) -> list[Chart]:
    """Decode, then prefill."""
    phases: tuple[Phase, ...] = ("decode", "prefill")
    return [
        Chart(phase, f"The ladder, predicted: {phase}", _CAPTION, _bars(forecast, phase))
        for phase in phases
    ]


def _bars(forecast: ClimbForecast, phase: Phase) -> Spec:
    work = forecast.workload
    tokens = work.batch_size * (work.prompt_len if phase == "prefill" else 1)
    bars: list[Row] = []
    for rung in forecast.rungs:
        if rung.prediction is not None:
            expected = getattr(rung.prediction, phase)
            figures = _rates(expected, tokens)
            about = {"label": rung.name, "outlook": _OUTLOOK[rung.helps], "change": rung.change}
            bars.append({**about, **figures})
    y = names_axis("label", [bar["label"] for bar in bars], 190)
    scale = alt.Scale(domain=[0, max(bar["end"] for bar in bars) * 1.02], nice=False)
    x = alt.X("rate:Q", scale=scale, title=f"{phase}, tokens/s", axis=alt.Axis(tickCount=6))
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


def _rates(expected: PhasePrediction, tokens: int) -> Row:
    rate = tokens / expected.time_s
    low = high = rate
    if expected.interval is not None:
        low, high = tokens / expected.interval.high, tokens / expected.interval.low
    return {
        "rate": rate,
        "low": low,
        "high": high,
        "end": high,
        "value": units.significant(rate),
        "predicted": f"{units.significant(rate)} tokens/s",
        "within": f"{units.significant(low)} to {units.significant(high)} tokens/s",
        "bound": expected.bound,
    }
