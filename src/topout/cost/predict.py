"""How long a generation should take: roofline per op at PyTorch's efficiency, plus overhead.

The constants come from this machine (`Ceilings`, `Rates`), none from the model that is predicted.
"""

import itertools
import math
from typing import Any

import msgspec

from topout.cost.ceiling_lookup import bandwidth_at, compute_at
from topout.cost.transformer import Op, kv_elements, pass_ops
from topout.models.config import DTYPE_BYTES, ModelConfig
from topout.records import (
    Bound,
    Ceilings,
    Dtype,
    ModeOverhead,
    PhasePrediction,
    Prediction,
    Rates,
    WorkloadSummary,
)


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What a stack of rungs tells the cost model."""

    mode: str = "transformers_eager"
    dtype: Dtype = "fp32"
    weight_dtype: Dtype | None = None  # of linear layers, where it differs from `dtype`
    kv_copies: float = 0.0
    gelu_passes: int = 1
    reads_whole_cache: bool = False
    generated_gemv_rows: dict[str, int] = {}  # by weight type: the most rows of generated kernels
    proposed_tokens: int = 0
    accepted_per_pass: float | None = None  # tokens that one verification pass yields
    draft: ModelConfig | None = None
    acceptance: dict[str, float] = {}  # rung → tokens per pass on the baseline's own output

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
        assumptions.append(f"{accepted:.2f} tokens per pass, as on the baseline's own output")
        if expectation.draft is not None:
            prefill = _sum(prefill, predict_prefill(expectation.draft, expectation, context))
    total = prefill.time_s + (workload.new_tokens - 1) * decode.time_s
    return Prediction(
        prefill=prefill,
        decode=decode,
        total_s=total,
        speedup=1.0 if rival_total_s is None else rival_total_s / total,
        assumptions=assumptions,
    )


def predict_prefill(
    config: ModelConfig, expectation: Expectation, context: Context
) -> PhasePrediction:
    """The pass over the prompt, which yields the first token."""
    workload = context.workload
    ops = pass_ops(
        config,
        batch_size=workload.batch_size,
        new_tokens=workload.prompt_len,
        context_len=workload.prompt_len,
        logits_rows=1,
        gelu_passes=expectation.gelu_passes,
    )
    mode = _mode(context.rates, expectation.mode)
    overhead = mode.prefill_fixed_s + config.layers * mode.prefill_per_layer_s
    return _phase(ops, config, expectation, context, overhead)


def predict_decode(
    config: ModelConfig, expectation: Expectation, context: Context
) -> PhasePrediction:
    """One token in the middle of the generation; when speculating, a pass over its tokens."""
    if not expectation.proposed_tokens:
        return _decode_pass(config, expectation, context, 1)
    verify = _decode_pass(config, expectation, context, expectation.proposed_tokens + 1)
    passes = [verify]
    if expectation.draft is not None:
        plain = expectation.replace(weight_dtype=None)  # a draft is not quantized
        draft = _decode_pass(expectation.draft, plain, context, 1)
        passes += [draft] * expectation.proposed_tokens
    whole = passes[0]
    for part in passes[1:]:
        whole = _sum(whole, part)
    whole = msgspec.structs.replace(
        whole,
        time_s=whole.time_s + context.rates.speculation_pass_s,
        overhead_s=whole.overhead_s + context.rates.speculation_pass_s,
    )
    return _scaled(whole, 1 / (expectation.accepted_per_pass or 1.0))


def _decode_pass(
    config: ModelConfig, expectation: Expectation, context: Context, new_tokens: int
) -> PhasePrediction:
    workload = context.workload
    # A token half-way through stands for all: bytes grow linearly with the context.
    filled = workload.prompt_len + workload.new_tokens // 2
    whole = workload.prompt_len + workload.new_tokens
    ops = pass_ops(
        config,
        batch_size=workload.batch_size,
        new_tokens=new_tokens,
        context_len=max(new_tokens, whole if expectation.reads_whole_cache else filled),
        logits_rows=new_tokens,
        gelu_passes=expectation.gelu_passes,
        kv_copies=expectation.kv_copies,
    )
    mode = _mode(context.rates, expectation.mode)
    overhead = mode.decode_fixed_s + config.layers * mode.decode_per_layer_s
    return _phase(ops, config, expectation, context, overhead)


def _phase(
    ops: list[Op],
    config: ModelConfig,
    expectation: Expectation,
    context: Context,
    overhead_s: float,
) -> PhasePrediction:
    """Sum the ops' times; the working set that decides the memory level is all weights and KV."""
    size = DTYPE_BYTES[expectation.dtype]
    weight_size = DTYPE_BYTES[expectation.weight_dtype or expectation.dtype]
    workload = context.workload
    cache = kv_elements(config, workload.batch_size, workload.prompt_len + workload.new_tokens)
    weights = sum(op.weight_elements for op in ops)
    working_set = weights * weight_size + cache * size
    stored = expectation.weight_dtype or expectation.dtype
    compute_s = memory_s = 0.0
    moved = 0.0
    for op in ops:
        if op.kind == "linear":
            most_rows = expectation.generated_gemv_rows.get(stored, 0)
            family = "gemv" if op.rows <= most_rows else "linear"
            compute, memory = _linear_time(
                op, f"{family}_{stored}", weight_size, working_set, context
            )
            moved += op.weight_elements * weight_size + op.activation_elements * size
        else:
            compute, memory = _other_time(op, expectation, working_set, context)
            moved += op.activation_elements * size
        # Each op is as slow as the slower of its two needs; the phase's sums keep them apart.
        if compute >= memory:
            compute_s += compute
        else:
            memory_s += memory
    flops = sum(op.flops for op in ops)
    return _of_parts(flops, moved, compute_s, memory_s, overhead_s)


def _linear_time(
    op: Op, kernel: str, weight_size: int, working_set_bytes: int, context: Context
) -> tuple[float, float]:
    """(compute, memory) seconds of all runs of a linear op at PyTorch's efficiency."""
    efficiency = linear_efficiency(context.rates, kernel, op.rows, working_set_bytes)
    compute, memory = roofline_time(
        op.flops,
        op.weight_elements * weight_size,
        kernel,
        working_set_bytes,
        context.ceilings,
        context.workload.threads,
    )
    return compute / efficiency, memory / efficiency


def roofline_time(
    flops: float,
    weight_bytes: float,
    kernel: str,
    working_set_bytes: float,
    ceilings: Ceilings,
    threads: int,
) -> tuple[float, float]:
    """(compute, memory) seconds at the measured ceilings.

    PyTorch's kernels multiply int8 weights in bf16, so that is their compute ceiling; generated
    kernels (`gemv_…`), and machines without bf16 arithmetic, widen to fp32.
    """
    dtype: Dtype = "bf16" if kernel in ("linear_bf16", "linear_int8") else "fp32"
    peak = compute_at(ceilings, dtype, threads) or compute_at(ceilings, "fp32", threads)
    bandwidth = bandwidth_at(ceilings, round(working_set_bytes), threads)
    return (flops / peak if peak else 0.0), weight_bytes / bandwidth


def _other_time(
    op: Op, expectation: Expectation, working_set_bytes: int, context: Context
) -> tuple[float, float]:
    """(compute, memory) seconds of attention, elementwise ops and copies."""
    rates, dtype = context.rates, expectation.dtype
    moved = op.activation_elements * DTYPE_BYTES[dtype]
    if op.kind != "attention":
        return 0.0, moved / rates.elementwise_bytes_per_s
    if op.rows == 1 and expectation.generated_gemv_rows:
        # One query over its keys is a matrix-vector product, and is generated as one.
        bandwidth = bandwidth_at(context.ceilings, working_set_bytes, context.workload.threads)
        efficiency = linear_efficiency(rates, f"gemv_{dtype}", 1, working_set_bytes)
        return 0.0, moved / bandwidth / efficiency
    attention = next((rate for rate in rates.attention if rate.dtype == dtype), rates.attention[0])
    memory = moved / attention.decode_bytes_per_s
    # A handful of queries is a stream over the keys; from there on it is matrix multiplication.
    return (op.flops / attention.prefill_flops_per_s if op.rows > 16 else 0.0), memory


def linear_efficiency(rates: Rates, kernel: str, rows: int, working_set_bytes: float) -> float:
    """Efficiency interpolated between the measured working sets, at the nearest measured M.

    Working sets and M are compared by their logarithms; beyond the measured ones the nearest holds.
    In between it is the time that is interpolated, 1/efficiency: a set that fits a cache in part
    takes the time of its hits and of its misses.
    """
    measured = [rate for rate in rates.linear if rate.kernel == kernel] or rates.linear
    nearest = min({rate.rows for rate in measured}, key=lambda m: abs(math.log(m / max(1, rows))))
    points = sorted(
        (math.log(rate.working_set_bytes), rate.efficiency)
        for rate in measured
        if rate.rows == nearest
    )
    at = math.log(max(1.0, working_set_bytes))
    if at <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if at <= x1:
            part = (at - x0) / (x1 - x0)
            return 1 / ((1 - part) / y0 + part / y1)
    return points[-1][1]


def _mode(rates: Rates, name: str) -> ModeOverhead:
    for mode in rates.modes:
        if mode.mode == name:
            return mode
    raise KeyError(f"no overhead was measured for the execution mode {name!r}")


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
    """A phase that takes as long as its parts together; the largest of them bounds it."""
    parts: dict[Bound, float] = {
        "compute": compute_s,
        "memory": memory_s,
        "overhead": overhead_s,
    }
    return PhasePrediction(
        time_s=sum(parts.values()),
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
        flops=phase.flops * factor,
        bytes=phase.bytes * factor,
        compute_s=phase.compute_s * factor,
        memory_s=phase.memory_s * factor,
        overhead_s=phase.overhead_s * factor,
    )
