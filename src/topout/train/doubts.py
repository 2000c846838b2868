"""Reasons to trust the figures of a training run less, seen in the figures themselves."""

import statistics
from collections.abc import Sequence

from topout import units
from topout.measure.checks import FEW_SAMPLES, WIDE_SPREAD
from topout.measure.stats import relative_spread
from topout.records import Doubt, TrainCase
from topout.train.case_results import slowest

MORE_THAN_LINEAR = 1.1  # parallel efficiency beyond which one of the cases was disturbed
_OWN_PROCESSORS = 0.85  # of the threads' time, computing and waiting together


def case_doubts(cases: Sequence[TrainCase]) -> list[Doubt]:
    """Steps that lie far apart, ranks without their processors, a speedup beyond the ranks."""
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
    """CPU ranks compute or wait, for each other or for data; what is missing others had."""
    if not case.times or any(
        time.device != "cpu" or time.processor_utilization is None for time in case.times
    ):
        return []
    share = statistics.fmean(time.processor_utilization or 0.0 for time in case.times)
    waiting = statistics.fmean(
        ((time.exposed_communication_s or 0.0) + time.data_s) / time.step_s for time in case.times
    )
    if share + waiting > _OWN_PROCESSORS:
        return []
    return [
        Doubt(
            about=_name(case),
            sentence=(
                f"Processors worked for {units.percent(share)} of the threads' time, and waiting "
                f"explains {units.percent(waiting)}."
            ),
            remedy="Close other programs; until then trust no speedup.",
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
