"""A worked example as one HTML page: the sum, the rooflines, and the measured run."""

from topout import units
from topout.cost.example_report import counted_traffic
from topout.cost.examples import unit_of
from topout.cost.roofs import RooflinePoint
from topout.errors import InputError
from topout.records import ExampleMachine, ExamplePrediction, ExampleReport
from topout.report.document import Chart
from topout.report.example.rows import example_tables, measured_facts
from topout.report.page import Tile, render_page
from topout.report.roofline.hierarchical import ROOFLINE_CAPTION, hierarchical_roofline


def example_page(report: ExampleReport) -> str:
    """The report as a self-contained HTML document with an interactive roofline per machine."""
    return render_page(
        "example.html.j2",
        report,
        report.example.title,
        example_charts(report),
        example=report.example,
        counted=counted_traffic(report.example),
        tables=example_tables(report),
        findings=report.findings,
        tiles=_tiles(report),
        measured=report.measured,
        facts_of_run=measured_facts(report.measured) if report.measured else [],
        reasons=report.reasons,
        count=units.count,
    )


def example_charts(report: ExampleReport) -> list[Chart]:
    """A roofline for each machine whose figures suffice for one."""
    charts = []
    for number, machine in enumerate(report.machines):
        try:
            spec = hierarchical_roofline(
                machine.hardware,
                _points(report, machine),
                dtype="fp64",
                unit=unit_of(report.example.name),
            )
        except InputError:
            continue  # the reason stands in the machine's record and among the findings
        title = f"{report.example.title} on {machine.name}"
        charts.append(Chart(f"roofline-{number}", title, ROOFLINE_CAPTION, spec))
    return charts


def _points(report: ExampleReport, machine: ExampleMachine) -> list[RooflinePoint]:
    """The prediction on the level that holds the data; on the machine itself, the measured run."""
    title = report.example.title
    points = []
    served = _served(report, machine)
    if served is not None:
        points.append(
            RooflinePoint(
                name=f"{served.traffic}, predicted",
                group=title,
                arithmetic_intensity=counted_traffic(report.example).arithmetic_intensity,
                flops_per_s=served.attainable_flops_per_s,
                predicted=True,
                dtype="fp64",
                level=served.level,
                detail=f"from {served.level}",
            )
        )
    if _ran_on(report, machine) and report.measured is not None:
        points += [
            RooflinePoint(
                name=f"{placed.traffic}, measured",
                group=title,
                arithmetic_intensity=placed.arithmetic_intensity,
                flops_per_s=report.measured.flops_per_s.median,
                predicted=False,
                dtype="fp64",
                detail=f"{units.bytes_per_s(placed.bytes_per_s)} moved",
            )
            for placed in report.placements
        ]
    return points


def _served(report: ExampleReport, machine: ExampleMachine) -> ExamplePrediction | None:
    wanted = (machine.level, report.example.counted)
    found = (each for each in machine.predictions if (each.level, each.traffic) == wanted)
    return next(found, None)


def _ran_on(report: ExampleReport, machine: ExampleMachine) -> bool:
    ceilings, measured = machine.hardware.ceilings, report.measured
    return ceilings is not None and measured is not None and ceilings.host_key == measured.host_key


def _tiles(report: ExampleReport) -> list[Tile]:
    traffic = counted_traffic(report.example)
    tiles = [
        Tile(
            "arithmetic intensity",
            units.significant(traffic.arithmetic_intensity),
            "FLOP/byte",
            traffic.name,
        )
    ]
    for machine in report.machines[:2]:
        served = _served(report, machine)
        if served is not None:
            tiles.append(
                Tile(
                    f"at most on {machine.name}",
                    units.flops_per_s(served.attainable_flops_per_s),
                    f"{units.seconds(served.time_s)} a pass",
                    served.region,
                )
            )
    if report.measured is not None:
        trials = len(report.measured.samples_s)
        tiles.append(
            Tile(
                "measured here",
                units.flops_per_s(report.measured.flops_per_s.median),
                f"{units.seconds(report.measured.time_s.median)} a pass",
                f"median of {trials} trials",
            )
        )
    return tiles
