"""Samples of rounds to the record of a comparison: medians, ratios pair by pair, efficiency."""

import statistics
from collections.abc import Mapping, Sequence

import msgspec

from topout.gemm.case import Case, version_names
from topout.gemm.timing import Roofs
from topout.measure.speed_test import SpeedTest
from topout.measure.stats import estimate
from topout.records import Bound, PairedRatio
from topout.records.gemm import GemmResult, GemmShape, GemmStatus

NAIVE = "naive"


class Outcome(msgspec.Struct):
    """What became of a version or a rival: the seconds of a product in each round it ran in."""

    name: str
    is_rival: bool = False
    packed_ahead: bool = False
    status: GemmStatus = "measured"
    reason: str | None = None
    error_of_bound: float | None = None
    samples_s: dict[int, float] = {}

    def fail(self, reason: str) -> None:
        """It is no speed, whatever was measured before."""
        self._end("failed", reason)

    def skip(self, reason: str) -> None:
        """It was not tried, for this reason."""
        self._end("skipped", reason)

    def _end(self, status: GemmStatus, reason: str) -> None:
        self.status, self.reason = status, reason
        self.samples_s = {}

    @property
    def is_measured(self) -> bool:
        """Whether there is a speed."""
        return self.status == "measured" and bool(self.samples_s)


def shape_of(
    case: Case,
    outcomes: Sequence[Outcome],
    roofs: Mapping[int, Roofs],
    ridge_point: float,
    reasons: Mapping[str, str],
) -> GemmShape:
    """The record of one case; `roofs` are those of each round, `ridge_point` in FLOP/byte."""
    bound: Bound = "memory" if case.arithmetic_intensity < ridge_point else "compute"
    if case.is_empty:
        bound = "overhead"
    rates = [each.flops_per_s for each in roofs.values() if each.flops_per_s is not None]
    reads = [each.bytes_per_s for each in roofs.values() if each.bytes_per_s is not None]
    measured = [each for each in outcomes if each.is_measured]
    results = [(each, _result(case, each, measured, roofs)) for each in outcomes]
    return GemmShape(
        m=case.m,
        n=case.n,
        k=case.k,
        dtype=case.dtype,
        threads=case.threads,
        label=case.label,
        calls=case.calls,
        flops=case.flops,
        arithmetic_intensity=case.arithmetic_intensity,
        bound=bound,
        ceiling_flops_per_s=estimate(rates) if rates else None,
        read_bytes_per_s=estimate(reads) if reads else None,
        versions=[result for outcome, result in results if not outcome.is_rival],
        rivals=[result for outcome, result in results if outcome.is_rival],
        reasons=dict(reasons),
    )


def with_parallel_efficiency(shapes: Sequence[GemmShape]) -> list[GemmShape]:
    """The same shapes, with efficiencies where the same one was measured on one thread as well.

    Efficiency: FLOP/s on p threads over p times the FLOP/s on one.
    """
    on_one: dict[tuple[object, ...], float] = {}
    for shape in shapes:
        for result in [*shape.versions, *shape.rivals] if shape.threads == 1 else []:
            if result.flops_per_s is not None:
                on_one[_key(shape, result)] = result.flops_per_s.median

    def judged(shape: GemmShape, result: GemmResult) -> GemmResult:
        alone = on_one.get(_key(shape, result))
        if alone is None or result.flops_per_s is None:
            return result
        efficiency = result.flops_per_s.median / alone / shape.threads
        return msgspec.structs.replace(result, parallel_efficiency=efficiency)

    return [
        msgspec.structs.replace(
            shape,
            versions=[judged(shape, result) for result in shape.versions],
            rivals=[judged(shape, result) for result in shape.rivals],
        )
        for shape in shapes
    ]


def _key(shape: GemmShape, result: GemmResult) -> tuple[object, ...]:
    return shape.m, shape.n, shape.k, shape.dtype, shape.label, result.name, result.packed_ahead


def _result(
    case: Case, outcome: Outcome, measured: Sequence[Outcome], roofs: Mapping[int, Roofs]
) -> GemmResult:
    if not outcome.is_measured:
        status: GemmStatus = "skipped" if outcome.status == "measured" else outcome.status
        return GemmResult(
            name=outcome.name,
            status=status,
            reason=outcome.reason or "there was no time for it",
            packed_ahead=outcome.packed_ahead,
            error_of_bound=outcome.error_of_bound,
        )
    return GemmResult(
        name=outcome.name,
        status="measured",
        reason=outcome.reason,
        packed_ahead=outcome.packed_ahead,
        samples_s=list(outcome.samples_s.values()),
        flops_per_s=estimate([case.flops / each for each in outcome.samples_s.values()]),
        of_ceiling=_share_of_ceiling(case, outcome, roofs),
        error_of_bound=outcome.error_of_bound,
        over_previous=_speedup(_previous(outcome, measured), outcome),
        over_naive=_speedup(_naive(outcome, measured), outcome),
        over_best_rival=_speedup(_best_rival(outcome, measured), outcome),
    )


def _share_of_ceiling(case: Case, outcome: Outcome, roofs: Mapping[int, Roofs]) -> float | None:
    """The median over the rounds of FLOP/s over the ceiling in that round."""
    shares = [
        case.flops / seconds / roof.flops_per_s
        for number, seconds in outcome.samples_s.items()
        if (roof := roofs.get(number)) is not None and roof.flops_per_s
    ]
    return statistics.median(shares) if shares else None


def _speedup(rival: Outcome | None, outcome: Outcome) -> PairedRatio | None:
    """Pair by pair, in the rounds in which both took part."""
    if rival is None:
        return None
    rounds = [number for number in outcome.samples_s if number in rival.samples_s]
    if not rounds:
        return None
    return SpeedTest().ratio(
        [rival.samples_s[number] for number in rounds],
        [outcome.samples_s[number] for number in rounds],
    )


def _previous(outcome: Outcome, measured: Sequence[Outcome]) -> Outcome | None:
    """The nearest step before it in the ladder of fp32 that was measured."""
    steps = version_names("fp32")
    if outcome.is_rival or outcome.name not in steps:
        return None
    versions = {each.name: each for each in measured if not each.is_rival}
    before = steps[: steps.index(outcome.name)]
    return next((versions[name] for name in reversed(before) if name in versions), None)


def _naive(outcome: Outcome, measured: Sequence[Outcome]) -> Outcome | None:
    named = (each for each in measured if each.name == NAIVE and not each.is_rival)
    return next((each for each in named if each is not outcome), None)


def _best_rival(outcome: Outcome, measured: Sequence[Outcome]) -> Outcome | None:
    """The fastest of those that had B packed ahead, or had not, as it has itself."""
    rivals = (
        each
        for each in measured
        if each.is_rival and not outcome.is_rival and each.packed_ahead == outcome.packed_ahead
    )
    return min(rivals, key=lambda each: statistics.median(each.samples_s.values()), default=None)
