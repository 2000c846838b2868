"""Work on the roofline as a table, sorted by arithmetic intensity."""

from collections.abc import Iterable

from topout import units
from topout.cost.roofs import RooflinePoint, Roofs, default_dtype, place_point, roofs_of
from topout.records import Hardware, PeakDtype
from topout.report.document import Column, Document, Row, Table
from topout.roofline import Placement, ridge_point

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
            units.percent(placed.attained_share if placed else None),
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
    unit = "OP/s" if peak.dtype in ("int8", "int4") else "FLOP/s"
    return (
        f"{memory.level} {units.bytes_per_s(memory.bytes_per_s)}, "
        f"{peak.dtype} {units.si(peak.flops_per_s, unit)}, "
        f"ridge point {units.significant(ridge)} FLOP/byte"
    )
