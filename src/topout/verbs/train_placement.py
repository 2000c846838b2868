"""A finished training case placed: the FLOPs of its samples, and their share of the ceiling."""

import msgspec

from topout.errors import UnsupportedError
from topout.machine.ceilings import cached_ceilings
from topout.records import TrainCase
from topout.train.plan import DEFAULT_BUILDER, Plan
from topout.train.results import flops_per_sample
from topout.verbs.train_subject import TrainSubject


def sample_flops(subject: TrainSubject, plan: Plan, parameters: int) -> float | None:
    """FLOPs of a sample; None for another network than the model's, or a family not counted."""
    if plan.builder != DEFAULT_BUILDER:
        return None
    try:
        return flops_per_sample(
            subject.source.config_json,
            subject.source.name,
            task=subject.task,
            labels=plan.labels,
            sequence_len=subject.sequence_len,
            samples=plan.batch_size * plan.accumulation,
            parameters=parameters,
        )
    except UnsupportedError:
        return None


def placed(case: TrainCase, subject: TrainSubject) -> TrainCase:
    """With the share of the arithmetic that this machine was measured to reach, if it was."""
    if case.flops_per_s is None:
        return case
    request = subject.request
    ceilings = cached_ceilings(subject.machine, request.device)
    rates = [
        ceiling.flops_per_s
        for ceiling in (ceilings.compute if ceilings is not None else [])
        if ceiling.dtype == request.dtype
    ]
    if not rates:
        reason = "this machine's ceilings were not measured; `topout machine` does"
        return msgspec.structs.replace(case, reasons={**case.reasons, "mfu_of_ceiling": reason})
    # CPU ranks share one machine, whose ceiling is that of all its threads; each GPU has its own.
    whole = max(rates) * (case.ranks if request.device == "cuda" else 1)
    return msgspec.structs.replace(case, mfu_of_ceiling=case.flops_per_s / whole)
