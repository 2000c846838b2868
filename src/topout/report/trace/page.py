"""A trace as one HTML page that holds everything it shows and loads nothing."""

from dataclasses import dataclass

from topout import units
from topout.records import TraceReport
from topout.report.document import Chart
from topout.report.page import Tile, render_page, unbroken
from topout.report.trace.charts import trace_charts
from topout.report.trace.grid import MOST_COLUMNS, Grid, Measure, device_grid, every_device
from topout.report.trace.measures import (
    group_measures,
    idle_measures,
    path_measures,
    time_measures,
)
from topout.report.trace.reasons import all_reasons
from topout.report.trace.rows import (
    TRANSFER_COLUMNS,
    collective_rows,
    kernel_tables,
    kernels_over_devices,
    transfer_rows,
)
from topout.report.trace.words import (
    device_labels,
    headline,
    report_title,
    subject_sentence,
    work_noun,
)

_MOST_TRANSFERS = 400  # rows of a table; the record has all


@dataclass(frozen=True, slots=True)
class Question:
    """One section of the page: what is asked, its pictures, its figures."""

    key: str
    title: str
    charts: list[Chart]
    grid: Grid | None
    devices: Grid | None = None  # every single one, where the grid has only mean and extremes


def trace_page(report: TraceReport, top: int = 10) -> str:
    """The report as a self-contained HTML document, with the `top` kernels of each device.

    Whatever the record says is shown as text, also where it looks like markup.
    """
    charts = trace_charts(report)
    transfers = transfer_rows(report, _MOST_TRANSFERS)
    return render_page(
        "trace.html.j2",
        report,
        report_title(report),
        list(charts.values()),
        report=report,
        headline=headline(report),
        subject=subject_sentence(report),
        tiles=_tiles(report),
        findings=[unbroken(sentence) for sentence in report.findings],
        questions=_questions(report, charts),
        noun=work_noun(report),
        kernels=kernel_tables(report, top),
        overall=kernels_over_devices(report, top) if len(report.ranks) > 1 else None,
        others=[group for group in _others(report) if group[1]],
        waiting=charts.get("collectives"),
        collectives=collective_rows(report),
        transfer_map=charts.get("transfers"),
        transfer_columns=TRANSFER_COLUMNS,
        transfers=transfers,
        transfers_left_out=len(report.communication.transfers) - len(transfers),
        memory=charts.get("memory"),
        reasons=all_reasons(report),
    )


def _questions(report: TraceReport, charts: dict[str, Chart]) -> list[Question]:
    """Those to which the report has an answer."""
    ranks, labels = report.ranks, device_labels(report.ranks)
    asked = [
        ("time", "Where the time goes", time_measures(ranks) if ranks else []),
        ("groups", f"Groups of {work_noun(report)}", group_measures(ranks)),
        ("idle", "Idle: why", idle_measures(ranks)),
        ("critical_path", "Critical path", path_measures(ranks)),
    ]
    return [
        _question(key, title, measures, labels, charts)
        for key, title, measures in asked
        if measures
    ]


def _question(
    key: str, title: str, measures: list[Measure], labels: list[str], charts: dict[str, Chart]
) -> Question:
    return Question(
        key=f"{key}_section",
        title=title,
        charts=[charts[key]] if key in charts else [],
        grid=device_grid("ms", labels, measures),
        devices=every_device("ms", labels, measures) if len(labels) > MOST_COLUMNS else None,
    )


def _others(report: TraceReport) -> list[tuple[str, list[str]]]:
    """What fell into no group, by device: a user's own rules could name it."""
    return [
        (label, group.examples)
        for label, each in zip(device_labels(report.ranks), report.ranks, strict=True)
        for group in each.groups
        if group.name == "other"
    ]


def _tiles(report: TraceReport) -> list[Tile]:
    """Shares of the time of all devices together, with the span over them."""
    wall = sum(each.wall_s for each in report.ranks)
    if not wall or any(each.idle_s is None for each in report.ranks):
        return []
    shares = [
        ("busy", [each.busy_s for each in report.ranks], "at least one thing ran"),
        ("computing", [each.compute_s for each in report.ranks], "of the wall time"),
        (
            "communication not hidden",
            [each.exposed_communication_s or 0.0 for each in report.ranks],
            "while nothing was computed",
        ),
        ("idle", [each.idle_s or 0.0 for each in report.ranks], "nothing ran"),
    ]
    walls = [each.wall_s for each in report.ranks]
    return [
        Tile(name, units.percent(sum(values) / wall), _span(values, walls), detail)
        for name, values, detail in shares
    ]


def _span(values: list[float], walls: list[float]) -> str:
    ratios = [value / wall for value, wall in zip(values, walls, strict=True) if wall > 0]
    if len(ratios) < 2:
        return ""
    least, most = units.percent(min(ratios)), units.percent(max(ratios))
    return f"{least} of each device" if least == most else f"{least} to {most} of a device"
