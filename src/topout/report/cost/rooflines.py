"""The rooflines of a cost report: each machine with the ops that were predicted on it."""

import msgspec

from topout import units
from topout.cost.roofs import RooflinePoint, roofs_of
from topout.records import CostReport, Hardware, MachineCost, OpCost, PeakDtype
from topout.report.charts.theme import Spec
from topout.report.document import Document
from topout.report.roofline.compare import compare_rooflines
from topout.report.roofline.hierarchical import hierarchical_roofline
from topout.report.roofline.table import roofline_document

_MOST_TOGETHER = 4  # more lines than that are not told apart
# Training has three times the ops of a forward pass, in the same places.
_DRAWN = ("prefill", "decode", "forward")


def cost_rooflines(report: CostReport) -> list[tuple[str, Spec]]:
    """(title, chart) for each machine that has roofs and times, and one of several together."""
    charts, able = [], []
    for machine in report.machines:
        hardware, points = machine.hardware, cost_points(report, machine)
        if hardware is None or roofs_of(hardware).level() is None:
            continue
        dtype = _drawn_dtype(report, hardware)
        if dtype is not None:
            able.append(hardware)
        if points:
            chart = hierarchical_roofline(hardware, points, dtype=dtype)
            charts.append((f"Roofline of {machine.name}: {report.model.name}", chart))
    common = _drawn_dtype(report, able[0]) if able else None
    if common is not None and 2 <= len(able) <= _MOST_TOGETHER:
        together = compare_rooflines(able, common)
        charts.append((f"The machines' {common} rooflines together", together))
    return charts


def cost_roofline_document(report: CostReport) -> Document:
    """The first machine's points by intensity, with their regions."""
    machine = report.machines[0]
    assert machine.hardware is not None
    points = [
        point
        if point.name.startswith(point.group)
        else msgspec.structs.replace(point, name=f"{point.group}, {point.name}")
        for point in cost_points(report, machine)
    ]
    return roofline_document(points, machine.hardware, _drawn_dtype(report, machine.hardware))


def _drawn_dtype(report: CostReport, hardware: Hardware) -> PeakDtype | None:
    """The type that the workload computes in, if the machine has a roof of it."""
    roofs = roofs_of(hardware).compute
    return next((roof.dtype for roof in roofs if roof.dtype == report.workload.dtype), None)


def cost_points(report: CostReport, machine: MachineCost) -> list[RooflinePoint]:
    """The products of each phase, and the phases themselves, at their predicted rates."""
    points = [
        RooflinePoint(
            name=op.name,
            group=op.phase,
            arithmetic_intensity=op.flops / op.bytes,
            flops_per_s=op.flops / op.time_s,
            predicted=True,
            detail=f"{op.shape}, {units.seconds(op.time_s)}",
        )
        for op in machine.ops
        if _is_drawn(op) and op.time_s
    ]
    for cost in (machine.prefill, machine.decode, machine.forward):
        if cost is not None and cost.time_s:
            points.append(
                RooflinePoint(
                    name=f"{cost.phase}, whole",
                    group=cost.phase,
                    arithmetic_intensity=cost.arithmetic_intensity,
                    flops_per_s=cost.flops / cost.time_s,
                    predicted=True,
                    detail=f"{report.model.name}, {units.seconds(cost.time_s)}",
                )
            )
    return points


def _is_drawn(op: OpCost) -> bool:
    counted = op.flops > 0 and op.bytes > 0
    return op.phase in _DRAWN and op.kind in ("linear", "attention") and counted
