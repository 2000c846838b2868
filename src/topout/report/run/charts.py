"""The charts of a run: its phases under the roofs of the machine, and its single runs."""

import altair as alt

from topout import units
from topout.cost.roofs import RooflinePoint, roofs_of
from topout.errors import InputError
from topout.records import Hardware, PhaseResult
from topout.records.climb import RunReport, RunResult, unit_of
from topout.report.charts.theme import BLUE, ORANGE, Spec, chart_of, coloured, finished, tooltips
from topout.report.document import Chart
from topout.report.figures import Phase, phase_name, phases_of, rate_title, sample_tokens_per_s
from topout.report.roofline.hierarchical import hierarchical_roofline

_ROOFLINE = (
    "Lines: what this machine was measured to reach with so many threads, bandwidth rising and "
    "arithmetic flat. A point on its line can only be moved by doing less work."
)
_RUNS = "Dots: timed runs; with another product in place the two take turns. Line: the median."


def run_charts(report: RunReport, hardware: Hardware | None) -> list[Chart]:
    """The roofline where the machine's roofs are known, and the single runs of both phases."""
    charts = []
    roofline = run_roofline(report, hardware) if hardware is not None else None
    if roofline is not None:
        charts.append(Chart("roofline", "The roofline", _ROOFLINE, roofline))
    work = report.workload
    charts += [
        Chart(
            f"runs_{phase}",
            f"The single runs: {phase_name(work, phase)}",
            _RUNS,
            runs_chart(report, phase),
        )
        for phase in phases_of(work)
    ]
    return charts


def run_roofline(report: RunReport, hardware: Hardware) -> Spec | None:
    """Prefill and decode of both ways under the roofs; None where a roof is missing."""
    points = [
        _point(result, name, phase, hardware)
        for result in report.results
        for name, phase in result.phases
    ]
    try:
        return hierarchical_roofline(hardware, points, dtype=report.workload.dtype)
    except InputError:
        return None


def _point(result: RunResult, name: str, phase: PhaseResult, hardware: Hardware) -> RooflinePoint:
    level = roofs_of(hardware).level_holding(phase.bytes, across_ops=True)
    return RooflinePoint(
        name=f"{name}, {result.name}",
        group=result.name,
        arithmetic_intensity=phase.arithmetic_intensity,
        flops_per_s=phase.flops / phase.time_s.median,
        predicted=False,
        level=level.level if level is not None else None,
        detail=units.seconds(phase.time_s.median),
    )


def runs_chart(report: RunReport, phase: Phase) -> Spec:
    """Tokens/s of each run as a dot, a row per way to multiply, with a tick at the median."""
    results, unit = report.results, unit_of(report.workload)
    rows = [
        {"name": result.name, "rate": rate, "figure": f"{units.significant(rate, 4)} {unit}"}
        for result in results
        for sample in result.samples
        if (rate := sample_tokens_per_s(sample, report.workload, phase)) is not None
    ]
    names = [result.name for result in results]
    hues = dict(zip(names, (BLUE, ORANGE), strict=False))
    base = chart_of(rows).encode(
        x=alt.X(
            "rate:Q",
            title=rate_title(report.workload, phase),
            scale=alt.Scale(zero=True),
            axis=alt.Axis(tickCount=8),
        ),
        y=alt.Y("name:N", title=None, sort=names),
        color=coloured("name", hues, legend=None),
    )
    dots = base.mark_point(filled=True, size=60, opacity=0.6).encode(
        tooltip=tooltips(f"name: product, figure: {phase}")
    )
    medians = base.mark_tick(thickness=2, size=26).encode(x="median(rate):Q")
    return finished(alt.layer(dots, medians), height=44 * len(names))
