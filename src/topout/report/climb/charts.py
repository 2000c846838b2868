"""The charts of a climb, each a Vega-Lite spec with a title and a caption."""

from topout.records import Climb
from topout.report.climb.ladder_chart import ladder_chart
from topout.report.climb.memory_chart import memory_chart
from topout.report.climb.roofline_chart import roofline_chart
from topout.report.climb.samples_chart import bandwidth_over_time, has_bandwidth, runs_over_time
from topout.report.document import Chart


def climb_charts(climb: Climb) -> list[Chart]:
    """The charts that `climb` has the figures for, in the order in which they are read."""
    rungs = climb.rungs
    charts = []
    if any(rung.decode for rung in rungs):
        charts.append(Chart("decode", "The ladder: decode", _BARS, ladder_chart(climb, "decode")))
    if any(rung.prefill for rung in rungs):
        charts.append(
            Chart("prefill", "The ladder: prefill", _BARS, ladder_chart(climb, "prefill"))
        )
    if any(rung.prefill or rung.decode for rung in rungs):
        charts.append(Chart("roofline", "The roofline", _ROOFLINE, roofline_chart(climb)))
    if any(rung.weight_bytes or rung.peak_memory_bytes for rung in rungs):
        charts.append(Chart("memory", "Memory", _MEMORY, memory_chart(climb)))
    if any(rung.samples for rung in rungs):
        charts.append(Chart("runs", "The runs over time", _RUNS, runs_over_time(climb)))
    if has_bandwidth(climb):
        charts.append(
            Chart("bandwidth", "The machine meanwhile", _BANDWIDTH, bandwidth_over_time(climb))
        )
    return charts


_BARS = (
    "Bar: median. Line on the bar: its 95 % interval. Dots: the single runs. "
    "Diamond: what the cost model predicted before the rung ran."
)
_ROOFLINE = (
    "Lines: what this machine was measured to reach, bandwidth rising and arithmetic flat. "
    "Circles: decode. Squares: prefill. Numbers follow the order of the ladder. "
    "A point on its line can only be moved by doing less work."
)
_MEMORY = "Weights of the rung, and all else that its process held at the peak."
_RUNS = (
    "Every timed run of a rung (filled) and of its rival (hollow), in the order in which they "
    "ran. They take turns, so that what disturbs one disturbs the other."
)
_BANDWIDTH = (
    "Read bandwidth measured between the runs: where it moves, the machine was disturbed, "
    "and ratios hold better than absolute rates."
)
