"""Runs on other numbers of devices, as one HTML page that holds everything and loads nothing."""

from topout import units
from topout.records import TraceRuns
from topout.report.page import Tile, render_page, unbroken
from topout.report.trace.runs_charts import runs_charts
from topout.report.trace.runs_rows import (
    groups_grid,
    runs_grid,
    runs_headline,
    runs_reasons,
    work_grid,
)

TITLE = "Does it scale, and what eats the gain?"


def trace_runs_page(report: TraceRuns) -> str:
    """The comparison as a self-contained HTML document.

    Whatever the record says is shown as text, also where it looks like markup.
    """
    charts = runs_charts(report)
    sections = [
        ("runs", "The runs", None, runs_grid(report.runs)),
        ("shares", charts["shares"].title, charts["shares"], None),
        ("groups", charts["groups"].title, charts["groups"], groups_grid(report.runs)),
        ("work", "The work of each device", None, work_grid(report.runs)),
    ]
    return render_page(
        "trace_runs.html.j2",
        report,
        TITLE,
        list(charts.values()),
        report=report,
        headline=runs_headline(report),
        subject=", ".join(f"{run.name}: {_devices(run.devices)}" for run in report.runs),
        tiles=_tiles(report),
        findings=[unbroken(sentence) for sentence in report.findings],
        sections=[
            section for section in sections if section[2] or (section[3] and section[3].rows)
        ],
        reasons=runs_reasons(report),
    )


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def _tiles(report: TraceRuns) -> list[Tile]:
    """The run on the most devices beside the first."""
    first, last = report.runs[0], report.runs[-1]
    on = f"on {_devices(last.devices)}"
    over = f"over {_devices(first.devices)}"
    return [
        Tile("time", units.seconds(last.wall_s), "", f"{on}; {units.seconds(first.wall_s)} before"),
        Tile("speedup", units.times(last.speedup), "", over if last.speedup else "not claimed"),
        Tile("efficiency", units.percent(last.efficiency), "", "speedup over growth of devices"),
        Tile(
            "communication and copies",
            units.percent(last.moving_share),
            "",
            f"{on}; {units.percent(first.moving_share)} before",
        ),
    ]
