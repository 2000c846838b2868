"""The rooflines of a cost report: each machine with the ops that were predicted on it."""

from topout import units
from topout.cost.roofs import RooflinePoint, roofs_of
from topout.records import CostReport, MachineCost, OpCost
from topout.report.chart_theme import Spec
from topout.report.hierarchical_roofline import hierarchical_roofline

# Training has three times the ops of a forward pass, in the same places.
_DRAWN = ("prefill", "decode", "forward")


def cost_rooflines(report: CostReport) -> list[tuple[str, Spec]]:
    """(title, chart) for each machine that has roofs and times."""
    charts = []
    for machine in report.machines:
        points = cost_points(report, machine)
        if machine.hardware is None or not points or roofs_of(machine.hardware).level() is None:
            continue
        dtype = report.workload.dtype
        roofs = roofs_of(machine.hardware)
        chosen = next((roof.dtype for roof in roofs.compute if roof.dtype == dtype), None)
        chart = hierarchical_roofline(machine.hardware, points, dtype=chosen)
        charts.append((f"Roofline of {machine.name}: {report.model.name}", chart))
    return charts


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
    return op.phase in _DRAWN and op.kind in ("linear", "attention") and op.flops > 0
