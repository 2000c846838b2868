"""The roofline of a worked example on each machine."""

from topout import units
from topout.cost.example_report import counted_traffic, served_by
from topout.cost.examples import unit_of
from topout.cost.roofs import RooflinePoint
from topout.errors import InputError
from topout.records import ExampleMachine, ExampleReport
from topout.report.document import Chart
from topout.report.roofline.hierarchical import ROOFLINE_CAPTION, hierarchical_roofline


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
    served = served_by(report, machine)
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


def _ran_on(report: ExampleReport, machine: ExampleMachine) -> bool:
    ceilings, measured = machine.hardware.ceilings, report.measured
    return ceilings is not None and measured is not None and ceilings.host_key == measured.host_key
