"""Speedup and parallel efficiency of a case over one rank, where both did the same work."""

import msgspec

from topout.measure.stats import chained, inverse
from topout.records import Estimate, TrainCase
from topout.train.work import different_work


def with_speedups(cases: list[TrainCase]) -> list[TrainCase]:
    """Cases with their speedup over the one with one rank, or the reason why there is none.

    The batch of a rank stays the same, so that n ranks do n times the work of a step: the speedup
    is that of samples per second, and 1 for the case of one rank itself.
    """
    alone = next((case for case in cases if case.ranks == 1), None)
    return [_compared(case, alone) for case in cases]


def _compared(case: TrainCase, alone: TrainCase | None) -> TrainCase:
    case = msgspec.structs.replace(
        case, reasons={name: why for name, why in case.reasons.items() if name != "speedup"}
    )
    if case.status != "done" or case.ranks == 1:
        return case
    reason = (
        "No case ran with one rank; ask for one with --ranks 1,2."
        if alone is None
        else different_work(alone, case)
    )
    if alone is None or reason is not None:
        return msgspec.structs.replace(case, reasons={**case.reasons, "speedup": reason or ""})
    assert alone.samples_per_s is not None and case.samples_per_s is not None
    speedup: Estimate = chained(case.samples_per_s, inverse(alone.samples_per_s))
    return msgspec.structs.replace(
        case, speedup=speedup, parallel_efficiency=speedup.median / case.ranks
    )
