"""What the ranks of a case told, put together: times, rates, loss, memory, communication.

A speedup stands over the case of one rank where both did the same work per sample.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from topout.cost.passes import full_pass_ops
from topout.cost.training import TrainingPlan, TrainingStep, backward_ops, update_ops
from topout.cost.training_memory import training_memory
from topout.measure.stats import chained, estimate, inverse
from topout.models.architecture import Architecture, Head
from topout.models.architectures.read import read_architecture
from topout.records import (
    Estimate,
    RankTime,
    TrainCase,
    TrainingMemory,
    TrainStatus,
    TrainStep,
    TrainTask,
)
from topout.train.plan import Line, Plan, RankDone, StepDone, SumComparison
from topout.units import counted

_CLASSIFIERS = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
}
_SAME = 0.01  # relative difference of work per sample that is none


def unfinished_case(
    ranks: int,
    lines: Sequence[Sequence[Line]],
    status: TrainStatus,
    reason: str,
    log: str | None = None,
) -> TrainCase:
    """A case that did not come to its end, with the steps that its ranks had done."""
    steps = [_steps(each) for each in lines]
    return TrainCase(
        ranks=ranks, status=status, reason=reason, log=log, steps=steps, loss=mean_loss(steps)
    )


def finished_case(
    plan: Plan,
    lines: Sequence[Sequence[Line]],
    *,
    sequence_len: int,
    flops_per_sample: float | None,
    trace_folder: str | None,
) -> TrainCase:
    """A case whose ranks are all done; `lines` by rank."""
    ends = [next(line for line in each if isinstance(line, RankDone)) for each in lines]
    steps = [_steps(each) for each in lines]
    ranks = len(lines)
    durations = slowest(steps)
    step_s = estimate(durations)
    samples = ranks * plan.batch_size * plan.accumulation
    samples_per_s = inverse(step_s, samples)
    agree = len({end.weights_digest for end in ends}) == 1
    return TrainCase(
        ranks=ranks,
        backend=ends[0].backend,
        status="done",
        times=[
            _rank_time(rank, end, steps[rank], lines[rank], trace_folder)
            for rank, end in enumerate(ends)
        ],
        steps=steps,
        wall_s=sum(durations),
        step_s=step_s,
        time_per_batch_s=_scaled(step_s, 1 / plan.accumulation),
        samples_per_s=samples_per_s,
        tokens_per_s=_scaled(samples_per_s, sequence_len),
        flops_per_sample=flops_per_sample,
        flops_per_s=(
            flops_per_sample * samples_per_s.median if flops_per_sample is not None else None
        ),
        loss=mean_loss(steps),
        backward_without_sum_s=[
            line.without_sum_s for line in lines[0] if isinstance(line, SumComparison)
        ],
        peak_memory_bytes=sum(end.peak_memory_bytes for end in ends),
        weights_agree=agree if ranks > 1 else None,
        parameters=ends[0].parameters,
        gradient_bytes=ends[0].gradient_bytes if ranks > 1 else None,
        trace_folder=trace_folder,
    )


def slowest(steps: Sequence[Sequence[TrainStep]]) -> list[float]:
    """Seconds of each timed step: those of the rank that took longest."""
    timed = [[step.total_s for step in each if step.phase == "timed"] for each in steps]
    return [max(times) for times in zip(*timed, strict=True)]


def mean_loss(steps: Sequence[Sequence[TrainStep]]) -> list[float]:
    """The loss of each step, mean over the ranks, as far as all ranks came."""
    return [statistics.fmean(step.loss for step in same) for same in zip(*steps, strict=False)]


def exposed_communication_s(lines: Sequence[Line]) -> float | None:
    """Backward with the sum over the ranks less backward without, the median of the pairs.

    What is left of communication after all that runs beside the computation, waiting for a late
    rank included. None where nothing was compared. Below zero is noise, and 0.
    """
    pairs = [
        line.with_sum_s - line.without_sum_s for line in lines if isinstance(line, SumComparison)
    ]
    return max(0.0, statistics.median(pairs)) if pairs else None


def _rank_time(
    rank: int,
    end: RankDone,
    steps: Sequence[TrainStep],
    lines: Sequence[Line],
    trace_folder: str | None,
) -> RankTime:
    timed = [step for step in steps if step.phase == "timed"]
    whole = statistics.fmean(step.total_s for step in timed)
    data = statistics.fmean(step.data_s for step in timed)
    forward = statistics.fmean(step.forward_s for step in timed)
    backward = statistics.fmean(step.backward_s for step in timed)
    optimizer = statistics.fmean(step.optimizer_s for step in timed)
    trace = f"{trace_folder}/{end.trace}" if trace_folder and end.trace else None
    reasons = {} if trace else {"trace": "no step was profiled"}
    return RankTime(
        rank=rank,
        host=end.host,
        device=end.device,
        step_s=whole,
        data_s=data,
        forward_s=forward,
        backward_s=backward,
        optimizer_s=optimizer,
        other_s=whole - data - forward - backward - optimizer,
        exposed_communication_s=exposed_communication_s(lines),
        processor_utilization=end.processor_utilization,
        memory_before_bytes=end.memory_before_bytes,
        unprofiled_peak_bytes=end.unprofiled_peak_bytes,
        peak_memory_bytes=end.peak_memory_bytes,
        peak_device_bytes=end.peak_device_bytes,
        trace=trace,
        reasons=reasons,
    )


def _steps(lines: Sequence[Line]) -> list[TrainStep]:
    return [line.step for line in lines if isinstance(line, StepDone)]


def _scaled(figure: Estimate, factor: float) -> Estimate:
    return Estimate(
        median=figure.median * factor, low=figure.low * factor, high=figure.high * factor
    )


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


def flops_per_sample(
    config_json: dict[str, Any],
    name: str,
    *,
    task: TrainTask,
    labels: int,
    sequence_len: int,
    samples: int,
    parameters: int,
) -> float:
    """FLOPs of one sample of `sequence_len` positions: forward, backward, its share of the update.

    `samples` share one update of `parameters` weights. Padding is computed, and counted. See
    `cost.training` for the formulas.
    """
    architecture = trained_architecture(config_json, name, task, labels)
    forward = full_pass_ops(architecture, 1, sequence_len)
    passes = sum(op.flops for op in [*forward, *backward_ops(forward)])
    return passes + sum(op.flops for op in update_ops(parameters)) / samples


def step_memory(
    config_json: dict[str, Any],
    name: str,
    *,
    task: TrainTask,
    labels: int,
    step: TrainingStep,
    accumulates: bool,
) -> TrainingMemory:
    """What a rank needs for an update with AdamW in the precision of `step`, all of it kept there.

    Gradients are freed after an update, and are there during a forward pass where it `accumulates`
    them. See `cost.training_memory` for what is counted.
    """
    architecture = trained_architecture(config_json, name, task, labels)
    plan = TrainingPlan(recipe="pure", gradients_persist=accumulates)
    return training_memory(architecture, step, plan)


def trained_architecture(
    config_json: dict[str, Any], name: str, task: TrainTask, labels: int
) -> Architecture:
    """The network with the head of its task.

    Raises UnsupportedError for a `model_type` that is not counted.
    """
    if task == "lm":
        return read_architecture(config_json, name)
    classifier = _CLASSIFIERS.get(str(config_json.get("model_type")))
    if classifier is not None:
        plain = {key: value for key, value in config_json.items() if key != "id2label"}
        stated = {"architectures": [classifier], "num_labels": labels}
        return read_architecture({**plain, **stated}, name)
    decoder = read_architecture(config_json, name)
    head = Head(name="classifier", inputs=decoder.width, outputs=labels, bias=False, per="sequence")
    return msgspec.structs.replace(decoder, heads=[head])


def different_work(alone: TrainCase, together: TrainCase) -> str | None:
    """Why the two cases cannot be compared, in a sentence; None where they can.

    They did the same work where both are done, a sample cost the same in both, and its positions
    were as many.
    """
    for case in (alone, together):
        if case.status != "done":
            return f"The case with {counted(case.ranks, 'rank')} is not done."
    if not _same(alone.flops_per_sample, together.flops_per_sample):
        return "The two do not compute the same for a sample."
    if not _same(_tokens_per_sample(alone), _tokens_per_sample(together)):
        return "The samples of the two are not of the same length."
    return None


def _tokens_per_sample(case: TrainCase) -> float | None:
    if case.tokens_per_s is None or case.samples_per_s is None:
        return None
    return case.tokens_per_s.median / case.samples_per_s.median


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_SAME)
