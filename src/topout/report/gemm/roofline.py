"""Products on the machine's roofline: what each version reached under the measured ceilings."""

from topout import units
from topout.cost.roofs import RooflinePoint
from topout.records import GemmReport, GemmResult, GemmShape, Hardware
from topout.records.gemm import GemmDtype
from topout.report.charts.theme import Spec
from topout.report.roofline.hierarchical import hierarchical_roofline
from topout.roofline import ceilings_at

_MOST_IN_FULL = 1  # products of which every version is drawn; of more the best alone


def gemm_roofline(report: GemmReport, dtype: GemmDtype) -> Spec | None:
    """The roofline with the products of a data type on the most threads; None without ceilings."""
    shapes = [
        each for each in report.shapes if each.dtype == dtype and each.threads == report.threads
    ]
    points = _points(shapes)
    if report.ceilings is None or not points:
        return None
    ceilings = ceilings_at(report.ceilings, report.threads)
    if not any(each.dtype == dtype for each in ceilings.compute) or not ceilings.bandwidth:
        return None
    hardware = Hardware(
        name="here",
        full_name=report.machine.cpu_model,
        device="cpu",
        vendor=report.machine.cpu_vendor or "unknown",
        memory_bytes=report.machine.memory_bytes,
        ceilings=ceilings,
    )
    return hierarchical_roofline(hardware, points, dtype=dtype)


def _points(shapes: list[GemmShape]) -> list[RooflinePoint]:
    if len(shapes) <= _MOST_IN_FULL:
        return [
            _point(shape, each, each.name, kind)
            for shape in shapes
            for kind, results in (("versions", shape.versions), ("rivals", shape.rivals))
            for each in results
            if _has_place(shape, each)
        ]
    points = []
    for shape in shapes:
        for kind, results in (("best version", shape.versions), ("best rival", shape.rivals)):
            measured = [each for each in results if _has_place(shape, each)]
            if measured:
                best = max(measured, key=_rate)
                name = shape.label or f"{shape.m}x{shape.n}x{shape.k}"
                points.append(_point(shape, best, name, kind))
    return points


def _has_place(shape: GemmShape, result: GemmResult) -> bool:
    return result.flops_per_s is not None and shape.flops > 0


def _rate(result: GemmResult) -> float:
    return result.flops_per_s.median if result.flops_per_s is not None else 0.0


def _point(shape: GemmShape, result: GemmResult, name: str, group: str) -> RooflinePoint:
    return RooflinePoint(
        name=name,
        group=group,
        arithmetic_intensity=shape.arithmetic_intensity,
        flops_per_s=_rate(result),
        predicted=False,
        dtype=shape.dtype,
        detail=f"{result.name}, {shape.m}x{shape.n}x{shape.k}, "
        f"{units.seconds(shape.flops / _rate(result))}",
    )
