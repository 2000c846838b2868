"""The charts of a cost report, each a Vega-Lite spec with a title and a caption."""

from topout.records import CostReport
from topout.report.charts.theme import Spec
from topout.report.cost.cache_chart import cache_chart, has_cache_table
from topout.report.cost.memory_chart import has_memory, memory_fit_chart
from topout.report.cost.rate_chart import rate_chart
from topout.report.cost.time_chart import has_times, time_chart
from topout.report.cost.training_chart import training_memory_chart
from topout.report.cost.words import PHASES, phase_title, rate_phase
from topout.report.document import Chart


def cost_charts(report: CostReport) -> dict[str, Spec]:
    """The specs by name, for `chart_svg` and `chart_png`."""
    charts = [*speed_charts(report), *memory_charts(report), *training_charts(report)]
    return {chart.key: chart.spec for chart in charts}


def speed_charts(report: CostReport) -> list[Chart]:
    """The machines compared, and where the time of each phase goes, as far as times are known."""
    charts = []
    phase = rate_phase(report)
    if phase is not None:
        charts.append(Chart("rates", "How fast", _RATES, rate_chart(report, phase)))
    caption = _TIMES  # once: the charts of the other phases are read alike
    for name in PHASES:
        if has_times(report, name):
            title = f"Where the time goes: {phase_title(report, name).lower()}"
            charts.append(Chart(f"time_{name}", title, caption, time_chart(report, name)))
            caption = ""
    return charts


def memory_charts(report: CostReport) -> list[Chart]:
    """What generation keeps in memory, where it keeps anything."""
    charts = []
    if has_memory(report):
        charts.append(Chart("memory", "What has to fit", _MEMORY, memory_fit_chart(report)))
    if has_cache_table(report):
        charts.append(Chart("kv_cache", "How the KV cache grows", _CACHE, cache_chart(report)))
    return charts


def training_charts(report: CostReport) -> list[Chart]:
    """What training keeps in memory."""
    if not report.memory.training:
        return []
    chart = training_memory_chart(report)
    return [Chart("training_memory", "What training keeps", _TRAINING, chart)]


_RATES = (
    "Bar: predicted. Line on the bar: the interval in which a measurement is expected. "
    "Colour: what most of the time is waited for."
)
_TIMES = (
    "Each part of a bar is an op, all its runs together, in the order in which they run; "
    "colour: which term of its time is the largest. All bars have the same length, and the "
    "predicted time stands at the end."
)
_MEMORY = (
    "Weights and KV cache of one device, at the batch and context asked for, as a share of its "
    "memory, which is the light bar behind. Activations and what the system takes come on top."
)
_CACHE = "Both axes are logarithmic. Dashed: what the weights leave free on each machine."
_TRAINING = (
    "What one device holds in a training step, for each choice of what is computed again "
    "in the backward pass and of what ZeRO divides. Grey: the memory of each machine, "
    "where it is not far larger."
)
