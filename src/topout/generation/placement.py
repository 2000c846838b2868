"""From raw runs to what a rung reached: estimates, utilization, the bound of each phase."""

import functools
from collections.abc import Sequence
from statistics import fmean

import msgspec

from topout import units
from topout.cost.one_pass import one_pass_ops
from topout.cost.ops import ELEMENT_BYTES, product_flops
from topout.cost.passes import kv_elements, pass_ops
from topout.cost.predict import Expectation
from topout.measure.runner import Duel
from topout.measure.stats import estimate, inverse
from topout.models.config import ModelConfig, architecture_of
from topout.models.pass_config import PassConfig
from topout.records import (
    Bound,
    Ceilings,
    Dtype,
    Estimate,
    PairedRatio,
    PhasePrediction,
    PhaseResult,
    Prediction,
    RunSample,
    WorkloadSummary,
)
from topout.roofline import Exceeded, bandwidth_at, compute_at, is_above


class Work(msgspec.Struct, frozen=True):
    """What a phase needs at the least: FLOPs, bytes, and the data they stay among."""

    flops: float
    bytes: float
    working_set_bytes: float


def decode_s(sample: RunSample) -> float:
    """Time per output token: (total − TTFT) / (new_tokens − 1)."""
    return (sample.total_s - sample.ttft_s) / (sample.new_tokens - 1)


def mean_run(runs: Sequence[RunSample]) -> RunSample:
    """One sample that stands for runs over several prompts: means of times, the highest peaks."""
    if len(runs) == 1:
        return runs[0]
    stolen = [run.stolen_share for run in runs if run.stolen_share is not None]
    processor = [run.processor_s for run in runs if run.processor_s is not None]
    loads = [run.other_load for run in runs if run.other_load is not None]
    peaks = [run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None]
    return msgspec.structs.replace(
        runs[0],
        ttft_s=fmean(run.ttft_s for run in runs),
        total_s=fmean(run.total_s for run in runs),
        forward_passes=max(1, round(fmean(run.forward_passes for run in runs))),
        stolen_share=max(stolen, default=None),
        processor_s=fmean(processor) if processor else None,
        other_load=max(loads, default=None),
        peak_memory_bytes=max(peaks, default=None),
    )


def prefill_work(config: ModelConfig, expectation: Expectation, workload: WorkloadSummary) -> Work:
    """One pass over the prompt: all weights once, keys and values written."""
    return _work(config, expectation, workload, workload.prompt_len, workload.prompt_len, 1)


def one_pass_work(config: PassConfig, expectation: Expectation, workload: WorkloadSummary) -> Work:
    """One pass over a batch: all weights once."""
    ops = one_pass_ops(config, workload.batch_size, workload.prompt_len)
    weight_size = ELEMENT_BYTES[expectation.weight_dtype or expectation.dtype]
    weight_bytes = sum(op.weight_elements for op in ops) * weight_size
    return Work(product_flops(ops), weight_bytes, weight_bytes)


def decode_work(
    config: ModelConfig,
    expectation: Expectation,
    workload: WorkloadSummary,
    tokens_per_pass: float,
) -> Work:
    """One token: a pass over the weights and the filled KV cache, shared by the tokens it yields.

    A token in the middle of the generation stands for all.
    """
    filled = workload.prompt_len + workload.new_tokens // 2
    verified = expectation.proposed_tokens + 1
    passes = [_work(config, expectation, workload, verified, filled + verified, verified)]
    if expectation.draft is not None:
        plain = expectation.replace(weight_dtype=None, native=None)  # a draft keeps its own layers
        one = _work(expectation.draft, plain, workload, 1, filled + 1, 1)
        passes += [one] * expectation.proposed_tokens
    return Work(
        flops=sum(each.flops for each in passes) / tokens_per_pass,
        bytes=sum(each.bytes for each in passes) / tokens_per_pass,
        working_set_bytes=passes[0].working_set_bytes,
    )


def _work(
    config: ModelConfig,
    expectation: Expectation,
    workload: WorkloadSummary,
    new_tokens: int,
    context_len: int,
    logits_rows: int,
) -> Work:
    size = ELEMENT_BYTES[expectation.dtype]
    weight_size = ELEMENT_BYTES[expectation.weight_dtype or expectation.dtype]
    architecture = architecture_of(config)
    ops = pass_ops(
        architecture,
        batch_size=workload.batch_size,
        new_tokens=new_tokens,
        context_len=context_len,
        logits_rows=logits_rows,
    )
    weights = sum(op.weight_elements for op in ops) * weight_size
    cache = kv_elements(architecture, workload.batch_size, context_len) * size
    longest = workload.prompt_len + workload.new_tokens
    whole = kv_elements(architecture, workload.batch_size, longest)
    return Work(
        flops=product_flops(ops),
        bytes=float(weights + cache),
        working_set_bytes=float(weights + whole * size),
    )


def place_phase(
    times_s: list[float],
    tokens: int,
    work: Work,
    dtype: Dtype,
    ceilings: Ceilings,
    threads: int,
    *,
    speedup: PairedRatio | None,
    predicted: PhasePrediction | None,
    read_bytes_per_s: float | None = None,
) -> PhaseResult:
    """A phase against the ceilings; `tokens` come out of (or go into) one `times_s`.

    Where it is above the bandwidth on file, the `read_bytes_per_s` of between the runs stands
    for that, if it is higher.
    """
    time_s = estimate(times_s)
    peak = compute_at(ceilings, dtype, threads)
    bandwidth = bandwidth_at(ceilings, work.working_set_bytes, threads)
    reads_again = is_above(work.bytes / bandwidth / time_s.median)
    reads_again = reads_again and read_bytes_per_s is not None and read_bytes_per_s > bandwidth
    if reads_again and read_bytes_per_s is not None:
        bandwidth = read_bytes_per_s
    compute_s = work.flops / peak if peak else 0.0
    memory_s = work.bytes / bandwidth
    rest_s = time_s.median - max(compute_s, memory_s)
    parts: dict[Bound, float] = {"compute": compute_s, "memory": memory_s, "overhead": rest_s}
    return PhaseResult(
        tokens_per_s=inverse(time_s, tokens),
        time_s=time_s,
        speedup=speedup,
        flops=work.flops,
        bytes=work.bytes,
        arithmetic_intensity=work.flops / work.bytes,
        mfu_of_ceiling=compute_s / time_s.median if peak else None,
        mbu_of_ceiling=memory_s / time_s.median,
        bound=max(parts, key=lambda part: parts[part]),
        ceiling_flops_per_s=peak,
        ceiling_bytes_per_s=bandwidth,
        ceiling_read_again=reads_again,
        predicted_time_s=predicted.time_s if predicted else None,
        predicted_interval=predicted.interval if predicted else None,
    )


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Runs placed against the ceilings: prefill, decode, and the highest peak of memory."""

    prefill: PhaseResult
    decode: PhaseResult | None
    ttft_s: Estimate
    peak_memory_bytes: int | None


def place_run(
    samples: Sequence[RunSample],
    config: ModelConfig | PassConfig,
    expectation: Expectation,
    workload: WorkloadSummary,
    ceilings: Ceilings,
    prediction: Prediction | None = None,
    duel: Duel[RunSample] | None = None,
) -> Placement:
    """Place runs, beside what was predicted of them and their rival's where they had one."""
    ratios = phase_ratios(duel) if duel is not None else None
    ttfts_s = [sample.ttft_s for sample in samples]
    probed = [each.ceiling_bytes_per_s for each in samples if each.ceiling_bytes_per_s]
    place = functools.partial(
        place_phase,
        dtype=expectation.arithmetic,
        ceilings=ceilings,
        threads=workload.threads,
        read_bytes_per_s=max(probed, default=None),
    )
    prefill = place(
        ttfts_s,
        inputs_of(workload),
        one_pass_work(config, expectation, workload)
        if isinstance(config, PassConfig)
        else prefill_work(config, expectation, workload),
        speedup=ratios.prefill if ratios else None,
        predicted=prediction.prefill if prediction else None,
    )
    decode = None
    if not isinstance(config, PassConfig):
        decode = place(
            [decode_s(sample) for sample in samples],
            workload.batch_size,
            decode_work(config, expectation, workload, tokens_per_pass(samples)),
            speedup=ratios.decode if ratios else None,
            predicted=prediction.decode if prediction else None,
        )
    peaks = [sample.peak_memory_bytes for sample in samples if sample.peak_memory_bytes]
    return Placement(
        prefill=prefill,
        decode=decode,
        ttft_s=estimate(ttfts_s),
        peak_memory_bytes=max(peaks, default=None),
    )


def inputs_of(workload: WorkloadSummary) -> int:
    """Tokens, or images, that go into a batch at first."""
    return workload.batch_size * (1 if workload.image_size else workload.prompt_len)


def is_above_ceiling(phase: PhaseResult) -> bool:
    """Whether a phase was measured above a ceiling, so that nothing follows from that."""
    return is_above(phase.mfu_of_ceiling) or is_above(phase.mbu_of_ceiling)


def memory_s_of(phase: PhaseResult) -> float:
    """Seconds that its bytes take at the measured bandwidth."""
    return phase.bytes / phase.ceiling_bytes_per_s if phase.ceiling_bytes_per_s else 0.0


def compute_s_of(phase: PhaseResult) -> float:
    """Seconds that its FLOPs take at the measured rate."""
    return phase.flops / phase.ceiling_flops_per_s if phase.ceiling_flops_per_s else 0.0


_WHAT_HELPS: dict[Bound, str] = {
    "memory": "What helps is fewer bytes a token: weights in fewer bits, or more sequences at a "
    "time that share them.",
    "compute": "What helps is fewer or cheaper FLOPs: a smaller data type.",
    "overhead": "What helps is fewer and larger ops: fused kernels, a captured step.",
}


def room_of(phase: PhaseResult, what: str, where: str) -> tuple[float, str] | None:
    """How many times as fast the ceilings allow a phase to be, and that in words, with what helps.

    None where a ceiling was exceeded, or none is known.
    """
    limit_s = max(memory_s_of(phase), compute_s_of(phase))
    if is_above_ceiling(phase) or limit_s <= 0:
        return None
    room = phase.time_s.median / limit_s
    sentence = (
        f"At the measured ceilings {what} would take {units.seconds(limit_s)}: "
        f"{units.times(room)} of room is left {where}."
    )
    return room, f"{sentence} {_WHAT_HELPS[phase.bound]}"


def exceeded_by(name: str, *phases: tuple[str, PhaseResult | None]) -> list[Exceeded]:
    """The ceilings that phases of `name` were measured above, each with its own name."""
    found: list[Exceeded] = []
    for label, phase in phases:
        if phase is None:
            continue
        what, time_s = f"{label} of {name}", phase.time_s.median
        if phase.mfu_of_ceiling is not None and is_above(phase.mfu_of_ceiling):
            rate = phase.flops / time_s
            found.append(Exceeded(what, "arithmetic", rate, phase.mfu_of_ceiling))
        if phase.mbu_of_ceiling is not None and is_above(phase.mbu_of_ceiling):
            rate = phase.bytes / time_s
            found.append(Exceeded(what, "bandwidth", rate, phase.mbu_of_ceiling))
    return found


class PhaseRatios(msgspec.Struct, frozen=True):
    """Speedups of the phases, pair by pair."""

    prefill: PairedRatio
    decode: PairedRatio | None


def phase_ratios(duel: Duel[RunSample]) -> PhaseRatios:
    """Prefill and decode of a duel apart."""
    generates = duel.rival[0].new_tokens > 1
    return PhaseRatios(
        prefill=duel.ratio(lambda sample: sample.ttft_s),
        decode=duel.ratio(decode_s) if generates else None,
    )


def tokens_per_pass(samples: Sequence[RunSample]) -> float:
    """Tokens after the first per forward pass, over all runs; 1 without speculation."""
    tokens = sum(sample.new_tokens - 1 for sample in samples)
    return tokens / max(1, sum(sample.forward_passes for sample in samples))


def prediction_error(predicted: Prediction, samples: list[RunSample]) -> float:
    """|predicted / measured − 1| of the whole workload's time."""
    measured = estimate([sample.total_s for sample in samples]).median
    return abs(predicted.total_s / measured - 1)
