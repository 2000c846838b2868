"""Versions and rivals of a product as rows: figures formatted once, for terminal and page."""

from collections.abc import Sequence
from dataclasses import dataclass

from topout import units
from topout.records import GemmReport, GemmResult, GemmShape, PairedRatio
from topout.report.document import Cell
from topout.report.figures import figure, spread
from topout.roofline import share_of

_MARKS = {"measured": " ", "failed": "!", "skipped": units.ABSENT}


@dataclass(frozen=True, slots=True)
class GemmRow:
    """A version or a rival with its figures as text; what was not measured is an en dash."""

    result: GemmResult
    name: str
    is_rival: bool
    is_best: bool  # the fastest version, or the fastest rival
    mark: str  # the status without colour
    rate: Cell  # GFLOP/s, or GOP/s
    of_ceiling: str
    over_previous: Cell
    over_naive: Cell
    over_rival: Cell
    efficiency: str
    error: str  # largest error, of its bound

    @property
    def measured(self) -> bool:
        """Whether it was timed."""
        return self.result.flops_per_s is not None


def gemm_rows(shape: GemmShape) -> list[GemmRow]:
    """The versions in the order of the ladder, then the rivals."""
    return [
        *(_row(each, False, best_of(shape.versions)) for each in shape.versions),
        *(_row(each, True, best_of(shape.rivals)) for each in shape.rivals),
    ]


def shape_title(shape: GemmShape) -> str:
    """The product: "835x2304x768, qkv, fp32, 2 threads"."""
    threads = units.counted(shape.threads, "thread")
    return ", ".join(filter(None, (size_of(shape), shape.label, shape.dtype, threads)))


def shape_facts(shape: GemmShape) -> str:
    """What the product needs, and the roofs that were measured in its rounds."""
    unit = rate_unit(shape)
    times = f", {shape.calls} times in a pass" if shape.calls > 1 else ""
    facts = (
        f"{units.si(shape.flops, unit)}{times}, "
        f"{units.significant(shape.arithmetic_intensity)} FLOP/byte, bound by "
        f"{'memory' if shape.bound == 'memory' else 'arithmetic'}"
    )
    if shape.ceiling_flops_per_s is not None:
        facts += f"; ceiling {units.si(shape.ceiling_flops_per_s.median, f'{unit}/s')}"
    if shape.read_bytes_per_s is not None:
        facts += f", memory {units.bytes_per_s(shape.read_bytes_per_s.median)}"
    return facts


def rate_unit(shape: GemmShape) -> str:
    """What a rate counts: operations on whole numbers are no FLOPs."""
    return "OP" if shape.dtype == "int8" else "FLOP"


def report_title(report: GemmReport) -> str:
    """What was compared: the model, or the only product, or how many."""
    if report.model is not None:
        return f"Matrix products of {report.model}"
    sizes = list(dict.fromkeys(size_of(each) for each in report.shapes))
    if len(sizes) == 1:
        return f"Matrix product {sizes[0]}"
    return f"{len(sizes)} matrix products"


def median_rate(result: GemmResult) -> float:
    """Operations per second; 0 where it was not timed."""
    return result.flops_per_s.median if result.flops_per_s is not None else 0.0


def best_of(results: Sequence[GemmResult]) -> GemmResult | None:
    """The fastest of those that were timed."""
    measured = [each for each in results if each.flops_per_s is not None]
    return max(measured, key=median_rate, default=None)


def size_of(shape: GemmShape) -> str:
    """ "835x2304x768": rows, columns, and what is summed over."""
    return f"{shape.m}x{shape.n}x{shape.k}"


def _row(result: GemmResult, is_rival: bool, best: GemmResult | None) -> GemmRow:
    rate = result.flops_per_s
    return GemmRow(
        result=result,
        name=result.name,
        is_rival=is_rival,
        is_best=result is best,
        mark="★" if result is best else _MARKS[result.status],
        rate=Cell(figure(rate.median / 1e9 if rate else None), spread(rate)),
        of_ceiling=share_of(result.of_ceiling),
        over_previous=_times(result.over_previous),
        over_naive=_times(result.over_naive),
        over_rival=_times(result.over_best_rival),
        efficiency=units.percent(result.parallel_efficiency),
        error=units.percent(result.error_of_bound, 1),
    )


def _times(ratio: PairedRatio | None) -> Cell:
    if ratio is None:
        return Cell(units.times(None))
    mark = "? " if ratio.verdict == "not proven" else ""
    bounds = f"{mark}[{_bound(ratio.low)}, {_bound(ratio.high)}]"
    return Cell(units.times(ratio.median), bounds)


def _bound(value: float) -> str:
    """Three digits, since a speedup over naive may be 1 or 300."""
    return "<0.01" if value < 0.01 else units.significant(value, 3 if value >= 0.1 else 2)
