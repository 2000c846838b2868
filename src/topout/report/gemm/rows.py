"""Versions and rivals of a product as rows: figures formatted once, for terminal and page."""

from dataclasses import dataclass

from topout import units
from topout.records import GemmReport, GemmResult, GemmShape, PairedRatio
from topout.report.figures import spread

_MARKS = {"measured": " ", "failed": "!", "skipped": units.ABSENT}


@dataclass(frozen=True, slots=True)
class GemmRow:
    """A version or a rival with its figures as text; what was not measured is an en dash."""

    result: GemmResult
    name: str
    is_rival: bool
    is_best: bool  # the fastest version, or the fastest rival
    mark: str  # the status without colour
    rate: str  # GFLOP/s, or GOP/s
    rate_spread: str
    of_ceiling: str
    over_previous: str
    over_previous_interval: str
    over_naive: str
    over_naive_interval: str
    over_rival: str
    over_rival_interval: str
    efficiency: str
    error: str  # largest error, of its bound

    @property
    def measured(self) -> bool:
        """Whether it was timed."""
        return self.result.flops_per_s is not None


def gemm_rows(shape: GemmShape) -> list[GemmRow]:
    """The versions in the order of the ladder, then the rivals."""
    return [
        *(_row(each, False, _best(shape.versions)) for each in shape.versions),
        *(_row(each, True, _best(shape.rivals)) for each in shape.rivals),
    ]


def shape_title(shape: GemmShape) -> str:
    """The product: "835x2304x768, qkv, fp32, 2 threads"."""
    plural = "" if shape.threads == 1 else "s"
    parts = [f"{shape.m}x{shape.n}x{shape.k}", *([shape.label] if shape.label else [])]
    return ", ".join([*parts, shape.dtype, f"{shape.threads} thread{plural}"])


def shape_facts(shape: GemmShape) -> str:
    """What the product needs, and the roofs that were measured in its rounds."""
    unit = rate_unit(shape)
    times = f", {shape.calls} times in a pass" if shape.calls > 1 else ""
    facts = (
        f"{units.si(shape.flops, 'OP' if shape.dtype == 'int8' else 'FLOP')}{times}, "
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
    sizes = list(dict.fromkeys(f"{each.m}x{each.n}x{each.k}" for each in report.shapes))
    if len(sizes) == 1:
        return f"Matrix product {sizes[0]}"
    return f"{len(sizes)} matrix products"


def _best(results: list[GemmResult]) -> GemmResult | None:
    measured = [each for each in results if each.flops_per_s is not None]
    return max(measured, key=_median, default=None)


def _median(result: GemmResult) -> float:
    return result.flops_per_s.median if result.flops_per_s is not None else 0.0


def _row(result: GemmResult, is_rival: bool, best: GemmResult | None) -> GemmRow:
    rate = result.flops_per_s
    return GemmRow(
        result=result,
        name=result.name,
        is_rival=is_rival,
        is_best=result is best,
        mark="★" if result is best else _MARKS[result.status],
        rate=units.ABSENT if rate is None else units.significant(rate.median / 1e9),
        rate_spread=spread(rate),
        of_ceiling=units.percent(result.of_ceiling),
        over_previous=_times(result.over_previous),
        over_previous_interval=_interval(result.over_previous),
        over_naive=_times(result.over_naive),
        over_naive_interval=_interval(result.over_naive),
        over_rival=_times(result.over_best_rival),
        over_rival_interval=_interval(result.over_best_rival),
        efficiency=units.percent(result.parallel_efficiency),
        error=units.percent(result.error_of_bound, 1),
    )


def _times(ratio: PairedRatio | None) -> str:
    return units.times(None if ratio is None else ratio.median)


def _interval(ratio: PairedRatio | None) -> str:
    if ratio is None:
        return ""
    return f"[{_bound(ratio.low)}, {_bound(ratio.high)}]"


def _bound(value: float) -> str:
    """Three digits, since a speedup over naive may be 1 or 300."""
    return "<0.01" if value < 0.01 else units.significant(value, 3 if value >= 0.1 else 2)
