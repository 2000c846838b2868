"""The charts of a trace, each a Vega-Lite spec with a title and a caption."""

from topout.records import TraceReport
from topout.report.document import Chart
from topout.report.trace.memory_chart import memory_chart
from topout.report.trace.time_charts import time_charts
from topout.report.trace.transfer_chart import transfer_chart
from topout.report.trace.waiting_chart import waiting_chart


def trace_charts(report: TraceReport) -> dict[str, Chart]:
    """The charts that the report has the figures for by their keys, in the order of reading."""
    made = [
        *time_charts(report.ranks),
        transfer_chart(report.communication),
        waiting_chart(report.communication),
        memory_chart(report.ranks),
    ]
    return {chart.key: chart for chart in made if chart is not None}
