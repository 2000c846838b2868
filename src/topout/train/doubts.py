"""Reasons to trust the figures of a training run less, seen in the figures themselves."""

from collections.abc import Sequence

from topout import units
from topout.measure.checks import FEW_SAMPLES, WIDE_SPREAD
from topout.measure.stats import relative_spread
from topout.records import Doubt, TrainCase
from topout.train.case_results import slowest

MORE_THAN_LINEAR = 1.1  # parallel efficiency beyond which one of the cases was disturbed
_OWN_PROCESSORS = 0.85  # of the threads' time; one rank on CPUs waits for nobody


def case_doubts(cases: Sequence[TrainCase]) -> list[Doubt]:
    """Steps that lie far apart, a rank without its processors, a speedup beyond the ranks."""
    doubts = []
    for case in cases:
        if case.status == "done":
            doubts += [*_spread(case), *_processors(case), *_superlinear(case)]
    return doubts


def _name(case: TrainCase) -> str:
    return "1 rank" if case.ranks == 1 else f"{case.ranks} ranks"


def _spread(case: TrainCase) -> list[Doubt]:
    times = slowest(case.steps)
    if len(times) < FEW_SAMPLES or relative_spread(times) <= WIDE_SPREAD:
        return []
    return [
        Doubt(
            about=_name(case),
            sentence=f"Single steps lie {units.percent(relative_spread(times))} apart (quartiles).",
            remedy="Close other programs, or run again on a quieter machine.",
        )
    ]


def _processors(case: TrainCase) -> list[Doubt]:
    share = case.times[0].processor_utilization if case.times else None
    if case.ranks > 1 or case.times[0].device != "cpu" or share is None or share > _OWN_PROCESSORS:
        return []
    return [
        Doubt(
            about=_name(case),
            sentence=f"It had its processors for {units.percent(share)} of its time.",
            remedy="Close other programs; until then trust no speedup over it.",
        )
    ]


def _superlinear(case: TrainCase) -> list[Doubt]:
    efficiency = case.parallel_efficiency
    if efficiency is None or efficiency <= MORE_THAN_LINEAR:
        return []
    return [
        Doubt(
            about="speedup",
            sentence=(
                f"{_name(case)} cannot be {units.percent(efficiency)} efficient unless one rank "
                "was disturbed, or its data fit no cache."
            ),
            remedy="Run again on a quieter machine.",
        )
    ]
