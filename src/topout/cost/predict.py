"""How long a generation should take: roofline per op at PyTorch's efficiency, plus overhead.

The constants come from this machine (`Ceilings`, `Rates`), none from the model that is predicted.
"""

from typing import Any

import msgspec

from topout.cost.measured_times import MeasuredTimes, mode_overhead, native_arithmetic
from topout.cost.one_pass import one_pass_ops
from topout.cost.ops import ELEMENT_BYTES, Load, Op, moved_bytes
from topout.cost.passes import kv_elements, pass_ops
from topout.cost.transformer import ExtraTraffic
from topout.models.config import ModelConfig, architecture_of
from topout.models.pass_config import PassConfig
from topout.records import (
    Bound,
    Ceilings,
    Dtype,
    Interval,
    PhasePrediction,
    Prediction,
    Rates,
    WorkloadSummary,
)


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What a stack of rungs tells the cost model."""

    mode: str = "transformers_eager"
    dtype: Dtype = "fp32"
    weight_dtype: str | None = None  # of linear layers, where it differs from `dtype`
    native: str | None = None  # our own kernels' format, where they run the linear layers
    kv_copies: float = 0.0
    gelu_passes: int = 1
    reads_whole_cache: bool = False
    generated_gemv_rows: dict[str, int] = {}  # by weight type: the most rows of generated kernels
    proposed_tokens: int = 0
    accepted_per_pass: float | None = None  # tokens that one verification pass yields
    draft: ModelConfig | None = None
    acceptance: dict[str, float] = {}  # rung → tokens per pass
    acceptance_is_of: str = "the baseline's own output"

    @property
    def arithmetic(self) -> Dtype:
        """The data type that linear layers multiply in, which decides their ceiling."""
        if self.native is not None:
            return native_arithmetic(self.native)
        # PyTorch's kernels for int8 weights multiply in bf16.
        return "bf16" if self.weight_dtype == "int8" else self.dtype

    def replace(self, **changes: Any) -> "Expectation":
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What predictions are made from."""

    workload: WorkloadSummary
    ceilings: Ceilings
    rates: Rates


def predict(
    config: ModelConfig, expectation: Expectation, context: Context, rival_total_s: float | None
) -> Prediction:
    """Times of prefill and of one decoded token; the speedup is over the rival's predicted time."""
    workload = context.workload
    prefill = predict_prefill(config, expectation, context)
    decode = predict_decode(config, expectation, context)
    assumptions: list[str] = []
    if expectation.proposed_tokens:
        accepted = expectation.accepted_per_pass or 1.0
        assumptions.append(f"{accepted:.2f} tokens per pass, as on {expectation.acceptance_is_of}")
        if expectation.draft is not None:
            prefill = _sum(
                prefill, predict_prefill(expectation.draft, _of_draft(expectation), context)
            )
    total = prefill.time_s + (workload.new_tokens - 1) * decode.time_s
    return Prediction(
        prefill=prefill,
        decode=decode,
        total_s=total,
        speedup=1.0 if rival_total_s is None else rival_total_s / total,
        speedup_interval=_speedup_interval(
            [(1, prefill), (workload.new_tokens - 1, decode)], rival_total_s
        ),
        assumptions=assumptions,
    )


def predict_one_pass(
    config: PassConfig, expectation: Expectation, context: Context, rival_total_s: float | None
) -> Prediction:
    """Time of a pass of an encoder or image classifier; all its work is in `prefill`."""
    workload = context.workload
    ops = one_pass_ops(config, workload.batch_size, workload.prompt_len)
    mode = mode_overhead(context.rates, expectation.mode)
    overhead_s = mode.prefill_fixed_s + config.layers * mode.prefill_per_layer_s
    load = _load(ops, 0, expectation)
    only = _phase(ops, load, expectation, context, overhead_s)
    return Prediction(
        prefill=only,
        total_s=only.time_s,
        speedup=1.0 if rival_total_s is None else rival_total_s / only.time_s,
        speedup_interval=_speedup_interval([(1, only)], rival_total_s),
        assumptions=["overheads are those of a decoder's prefill"],
    )


def _speedup_interval(
    phases: list[tuple[int, PhasePrediction]], rival_total_s: float | None
) -> Interval | None:
    """Over the rival's predicted time: what is wrong with both in the same way cancels.

    Each phase with how often it runs.
    """
    ends = [(times, each.interval) for times, each in phases if each.interval is not None]
    if rival_total_s is None or len(ends) < len(phases):
        return None
    return Interval(
        low=rival_total_s / sum(times * each.high for times, each in ends),
        high=rival_total_s / sum(times * each.low for times, each in ends),
    )


def predict_prefill(
    config: ModelConfig, expectation: Expectation, context: Context
) -> PhasePrediction:
    """The pass over the prompt, which yields the first token."""
    workload = context.workload
    ops = pass_ops(
        architecture_of(config),
        batch_size=workload.batch_size,
        new_tokens=workload.prompt_len,
        context_len=workload.prompt_len,
        logits_rows=1,
        extra_traffic=ExtraTraffic(gelu_passes=expectation.gelu_passes),
    )
    mode = mode_overhead(context.rates, expectation.mode)
    overhead = mode.prefill_fixed_s + config.layers * mode.prefill_per_layer_s
    load = _load(ops, _cached_elements(config, workload), expectation)
    return _phase(ops, load, expectation, context, overhead)


def predict_decode(
    config: ModelConfig, expectation: Expectation, context: Context
) -> PhasePrediction:
    """One token in the middle of the generation; when speculating, a pass over its tokens."""
    if not expectation.proposed_tokens:
        return _decode_pass(config, expectation, context, 1)
    verify = _decode_pass(config, expectation, context, expectation.proposed_tokens + 1)
    passes = [verify]
    if expectation.draft is not None:
        draft = _decode_pass(expectation.draft, _of_draft(expectation), context, 1)
        passes += [draft] * expectation.proposed_tokens
    whole = passes[0]
    for part in passes[1:]:
        whole = _sum(whole, part)
    whole = _sum(whole, _of_parts(0.0, 0.0, 0.0, 0.0, context.rates.speculation_pass_s))
    return _scaled(whole, 1 / (expectation.accepted_per_pass or 1.0))


def _of_draft(expectation: Expectation) -> Expectation:
    """A draft keeps its own layers where those of the model are quantized or replaced."""
    return expectation.replace(weight_dtype=None, native=None)


def _decode_pass(
    config: ModelConfig, expectation: Expectation, context: Context, new_tokens: int
) -> PhasePrediction:
    workload = context.workload
    # A token half-way through stands for all: bytes grow linearly with the context.
    filled = workload.prompt_len + workload.new_tokens // 2
    whole = workload.prompt_len + workload.new_tokens
    ops = pass_ops(
        architecture_of(config),
        batch_size=workload.batch_size,
        new_tokens=new_tokens,
        context_len=max(new_tokens, whole if expectation.reads_whole_cache else filled),
        logits_rows=new_tokens,
        extra_traffic=ExtraTraffic(
            gelu_passes=expectation.gelu_passes, kv_copies=expectation.kv_copies
        ),
    )
    mode = mode_overhead(context.rates, expectation.mode)
    overhead = mode.decode_fixed_s + config.layers * mode.decode_per_layer_s
    load = _load(ops, _cached_elements(config, workload), expectation)
    return _phase(ops, load, expectation, context, overhead)


def _phase(
    ops: list[Op],
    load: Load,
    expectation: Expectation,
    context: Context,
    overhead_s: float,
) -> PhasePrediction:
    """The ops' times in sum: each is as slow as the slower of its needs, which are kept apart."""
    times = MeasuredTimes(
        context.ceilings,
        context.rates,
        context.workload.threads,
        expectation.mode,
        expectation.generated_gemv_rows,
        expectation.native,
    )
    compute_s = memory_s = 0.0
    for op in ops:
        compute, memory = times.busy(op, load)
        if compute >= memory:
            compute_s += compute
        else:
            memory_s += memory
    return _of_parts(
        sum(op.flops for op in ops),
        sum(moved_bytes(op, load.sizes).total for op in ops),
        compute_s,
        memory_s,
        overhead_s,
    )


def _cached_elements(config: ModelConfig, workload: WorkloadSummary) -> int:
    """Of the whole KV cache."""
    longest = workload.prompt_len + workload.new_tokens
    return kv_elements(architecture_of(config), workload.batch_size, longest)


def _load(ops: list[Op], cached: int, expectation: Expectation) -> Load:
    """The working set that decides the memory level is all weights and what is cached."""
    dtype = expectation.dtype
    weight_dtype = expectation.weight_dtype or dtype
    weights = sum(op.weight_elements for op in ops)
    return Load(
        dtype=dtype,
        weight_dtype=weight_dtype,
        kv_dtype=dtype,
        working_set_bytes=weights * ELEMENT_BYTES[weight_dtype] + cached * ELEMENT_BYTES[dtype],
    )


def _sum(one: PhasePrediction, other: PhasePrediction) -> PhasePrediction:
    return _of_parts(
        one.flops + other.flops,
        one.bytes + other.bytes,
        one.compute_s + other.compute_s,
        one.memory_s + other.memory_s,
        one.overhead_s + other.overhead_s,
    )


def _of_parts(
    flops: float, moved_bytes: float, compute_s: float, memory_s: float, overhead_s: float
) -> PhasePrediction:
    """A phase that takes as long as its parts together; the largest of them bounds it.

    Its interval is from all parts at the fast to all at the slow pace of `MeasuredTimes`.
    """
    parts: dict[Bound, float] = {
        "compute": compute_s,
        "memory": memory_s,
        "overhead": overhead_s,
    }
    fast, slow = (
        compute_s / pace.compute + memory_s / pace.bandwidth + overhead_s * pace.overhead
        for pace in (MeasuredTimes.fast, MeasuredTimes.slow)
    )
    return PhasePrediction(
        time_s=sum(parts.values()),
        interval=Interval(low=fast, high=slow),
        flops=flops,
        bytes=moved_bytes,
        compute_s=compute_s,
        memory_s=memory_s,
        overhead_s=overhead_s,
        bound=max(parts, key=lambda part: parts[part]),
    )


def _scaled(phase: PhasePrediction, factor: float) -> PhasePrediction:
    return msgspec.structs.replace(
        phase,
        time_s=phase.time_s * factor,
        interval=phase.interval
        and Interval(low=phase.interval.low * factor, high=phase.interval.high * factor),
        flops=phase.flops * factor,
        bytes=phase.bytes * factor,
        compute_s=phase.compute_s * factor,
        memory_s=phase.memory_s * factor,
        overhead_s=phase.overhead_s * factor,
    )
