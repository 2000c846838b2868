"""Work on the roofline as a table for a terminal of 80 columns, sorted by arithmetic intensity."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from topout import units
from topout.cost.roofs import RooflinePoint, Roofs, default_dtype, place_point, roofs_of
from topout.records import Hardware, PeakDtype
from topout.roofline import Placement, ridge_point

_COLUMNS = ("FLOP/byte", "Rate", "Attainable", "Share")
_REGIONS = {
    "above the bandwidth roof": "above bandwidth",
    "above the compute roof": "above compute",
    "poor": "poor, {bound}",
}


def roofline_table(
    points: Iterable[RooflinePoint], hardware: Hardware, dtype: PeakDtype | None = None
) -> RenderableType:
    """Name, intensity, rate, attainable rate, share of it, and region with bound of each point.

    A point stands under the roofs of its own data type and level, else of `dtype` and main
    memory. A rate that was predicted has a tilde.
    """
    roofs = roofs_of(hardware)
    chosen = dtype or default_dtype(roofs)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
        show_edge=False,
    )
    table.add_column("Work", overflow="fold", min_width=16)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Region", no_wrap=True)
    for point in sorted(points, key=lambda each: each.arithmetic_intensity):
        table.add_row(*_cells(point, roofs, chosen))
    return Group(Text(_heading(hardware, roofs, chosen)), table)


def _cells(point: RooflinePoint, roofs: Roofs, dtype: PeakDtype | None) -> list[Text]:
    placed = place_point(point, roofs, dtype)
    tilde = "~" if point.predicted else ""
    return [
        Text(point.name),
        Text(units.significant(point.arithmetic_intensity)),
        Text(f"{tilde}{units.flops_per_s(point.flops_per_s)}"),
        Text(units.flops_per_s(placed.attainable_flops_per_s if placed else None)),
        Text(units.percent(placed.attained_share if placed else None)),
        Text(_region(placed) if placed else units.ABSENT),
    ]


def _region(placed: Placement) -> str:
    """Poor work names the roof that is the lower one there, as its bound; others imply it."""
    return _REGIONS.get(placed.region, placed.region).format(bound=placed.bound)


def _heading(hardware: Hardware, roofs: Roofs, dtype: PeakDtype | None) -> str:
    """The roofs of the regions, and where they meet."""
    memory, peak = roofs.level(), roofs.peak(dtype) if dtype else None
    if memory is None or peak is None:
        return f"{hardware.name}: its figures do not suffice for a roofline."
    ridge = ridge_point(peak.flops_per_s, memory.bytes_per_s)
    unit = "OP/s" if peak.dtype in ("int8", "int4") else "FLOP/s"
    return (
        f"{hardware.name}: {memory.level} {units.bytes_per_s(memory.bytes_per_s)}, "
        f"{peak.dtype} {units.si(peak.flops_per_s, unit)}, "
        f"ridge point {units.significant(ridge)} FLOP/byte"
    )
