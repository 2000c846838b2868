"""What the ranks of a case told, put together: times, rates, loss, memory, communication."""

import statistics
from collections.abc import Sequence

from topout.measure.stats import estimate, inverse
from topout.records import Estimate, RankTime, TrainCase, TrainStatus, TrainStep
from topout.train.plan import Line, Plan, RankDone, StepDone, SumComparison


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
            _rank_time(rank, plan, end, steps[rank], lines[rank], trace_folder)
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
    plan: Plan,
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
