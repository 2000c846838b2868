"""The rooflines of a cost report: the ops predicted on each machine, as charts and as a table."""

from collections.abc import Iterable

import msgspec

from topout import units
from topout.cost.roofs import RooflinePoint, Roofs, default_dtype, place_point, roofs_of
from topout.records import CostReport, Hardware, MachineCost, OpCost, PeakDtype
from topout.report.charts.theme import Spec
from topout.report.document import Column, Document, Row, Table
from topout.report.figures import rate_unit_of
from topout.report.roofline.hierarchical import compare_rooflines, hierarchical_roofline
from topout.roofline import Placement, ridge_point, share_of

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


_REGIONS = {
    "above the bandwidth roof": "above bandwidth",
    "above the compute roof": "above compute",
    "poor": "poor, {bound}",
}


def roofline_document(
    points: Iterable[RooflinePoint], hardware: Hardware, dtype: PeakDtype | None = None
) -> Document:
    """Name, intensity, rate, attainable rate, share of it, and region with bound of each point.

    A point stands under the roofs of its own data type and level, else of `dtype` and main
    memory. A rate that was predicted has a tilde.
    """
    roofs = roofs_of(hardware)
    chosen = dtype or default_dtype(roofs)
    columns = [
        Column("Work", text=True, least=16),
        *map(Column, ("FLOP/byte", "Rate", "Attainable", "Share")),
        Column("Region", text=True, least=15),
    ]
    ordered = sorted(points, key=lambda each: each.arithmetic_intensity)
    return Document(
        record=hardware,
        title=hardware.name,
        about=_heading(hardware, roofs, chosen),
        parts=[Table(columns, [_row(point, roofs, chosen) for point in ordered])],
    )


def _row(point: RooflinePoint, roofs: Roofs, dtype: PeakDtype | None) -> Row:
    placed = place_point(point, roofs, dtype)
    tilde = "~" if point.predicted else ""
    return Row(
        [
            point.name,
            units.significant(point.arithmetic_intensity),
            f"{tilde}{units.flops_per_s(point.flops_per_s)}",
            units.flops_per_s(placed.attainable_flops_per_s if placed else None),
            share_of(placed.attained_share if placed else None),
            _region(placed) if placed else units.ABSENT,
        ]
    )


def _region(placed: Placement) -> str:
    """Poor work names the roof that is the lower one there, as its bound; others imply it."""
    return _REGIONS.get(placed.region, placed.region).format(bound=placed.bound)


def _heading(hardware: Hardware, roofs: Roofs, dtype: PeakDtype | None) -> str:
    """The roofs of the regions, and where they meet."""
    memory, peak = roofs.level(), roofs.peak(dtype) if dtype else None
    if memory is None or peak is None:
        return "its figures do not suffice for a roofline"
    ridge = ridge_point(peak.flops_per_s, memory.bytes_per_s)
    unit = rate_unit_of(peak.dtype)
    return (
        f"{memory.level} {units.bytes_per_s(memory.bytes_per_s)}, "
        f"{peak.dtype} {units.si(peak.flops_per_s, unit)}, "
        f"ridge point {units.significant(ridge)} FLOP/byte"
    )
