"""What follows from the cost of a model, in sentences: what bounds it, what fits, what helps."""

import math

from topout import units
from topout.cost.hardware_times import level_rate
from topout.cost.transformer import expected_experts
from topout.records import (
    CostReport,
    MachineCost,
    OpCost,
    PhaseCost,
)

_FASTER = {
    "memory": "fewer bytes make it faster: quantized weights, a larger batch to share them",
    "compute": "fewer or cheaper FLOPs make it faster: a smaller data type, shorter input",
    "overhead": "fewer and larger ops make it faster: a captured graph, fused kernels, a batch",
    "communication": "fewer devices or a faster link make it faster",
    "bubble": "more micro-batches make it faster, or fewer stages",
}
_WAITS_FOR = {
    "memory": "memory",
    "compute": "arithmetic",
    "overhead": "overhead",
    "communication": "communication",
    "bubble": "the other stages of the pipeline",
}
_LEAST_BUBBLE = 0.1  # of a step, to be told of
_PHASES = {
    "prefill": "the prompt",
    "decode": "a decoded token",
    "forward": "a forward pass",
    "training": "a training step",
}
_BATCHES = (1, 4, 16, 64)  # as those of the KV cache's table


def findings_of(report: CostReport) -> list[str]:
    """What bounds the model on each machine, what fits, what the cache saves."""
    sentences: list[str] = []
    for machine in report.machines:
        sentences += [*_bounds(report, machine), *_bubble(report, machine), *_fits(report, machine)]
    sentences += [*_fastest(report), *_experts_read(report)]
    saving = report.machines[0].cache_saving
    if saving is not None and saving.cached_flops:
        ratio = saving.uncached_flops / saving.cached_flops
        sentences.append(
            f"At a context of {saving.context_len} a token without a KV cache would need "
            f"{units.times(ratio)} the FLOPs and "
            f"{units.times(saving.uncached_bytes / saving.cached_bytes)} the bytes."
        )
    return sentences


def _experts_read(report: CostReport) -> list[str]:
    """How many experts of a layer a decoded token of each sequence reads, by batch."""
    experts, chosen = report.model.experts, report.model.experts_per_token
    if not experts or not chosen or chosen >= experts:
        return []
    batches = sorted({*_BATCHES, report.workload.batch_size})
    read = [
        f"{batch} reads {units.significant(expected_experts(experts, chosen, batch))}"
        for batch in batches
    ]
    return [
        f"Of {experts} experts in a layer a token goes to {chosen}. If each chooses at random, a "
        f"batch of {', of '.join(read)}: more tokens share more weights."
    ]


def _bounds(report: CostReport, machine: MachineCost) -> list[str]:
    sentences = []
    for cost in (machine.prefill, machine.decode, machine.forward):
        if cost is None or cost.time_s is None or cost.bound is None:
            continue
        sentence = (
            f"{_where(machine)} {_PHASES[cost.phase]} takes {units.seconds(cost.time_s)} and waits "
            f"mostly for {_waits_for(cost)}: {_FASTER[cost.bound]}."
        )
        sentences.append(sentence + _limit(machine, cost) + _with_int8(report, machine, cost))
    return sentences


def _where(machine: MachineCost) -> str:
    return "Here" if machine.name == "here" else f"On {machine.name}"


def _waits_for(cost: PhaseCost) -> str:
    return _WAITS_FOR[cost.bound or "memory"]


def _limit(machine: MachineCost, cost: PhaseCost) -> str:
    """The most that decode can reach there: the bytes of a token over the bandwidth."""
    if cost.phase != "decode" or machine.hardware is None or not machine.hardware.levels:
        return ""
    rate = level_rate(machine.hardware.levels[-1])
    if rate is None or cost.bound != "memory":
        return ""
    most = cost.tokens * rate / cost.bytes
    return (
        f" {units.si(cost.bytes, 'B')} a step at {units.bytes_per_s(rate)} are at most "
        f"{units.significant(most)} tokens/s."
    )


_WIDE = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes of a weight that can be rounded to one."""


def _with_int8(report: CostReport, machine: MachineCost, cost: PhaseCost) -> str:
    """What weights of one byte would gain in decode, by the bytes that they leave out alone."""
    size = _WIDE.get(report.workload.weight_dtype)
    if size is None or cost.phase != "decode" or cost.bound != "memory" or not cost.time_s:
        return ""
    linear = (op for op in machine.ops if op.phase == "decode" and op.kind == "linear")
    left_s = cost.time_s - sum(_saved_s(op, 1 - 1 / size) for op in linear)
    gain = cost.time_s / left_s
    if gain < 1.05:
        return ""
    return (
        f" Weights in int8 would make it up to {units.times(gain)} as fast by their bytes "
        "(--quantize int8)."
    )


def _saved_s(op: OpCost, share: float) -> float:
    """Seconds that an op gains where this share of its weight bytes is not read."""
    if op.memory_s is None or op.compute_s is None or not op.bytes:
        return 0.0
    fewer_s = op.memory_s * (1 - share * op.weight_bytes / op.bytes)
    return max(op.memory_s, op.compute_s) - max(fewer_s, op.compute_s)


def _bubble(report: CostReport, machine: MachineCost) -> list[str]:
    """What a pipeline's devices wait in a training step, and how many micro-batches halve it."""
    cost, stages = machine.training, report.workload.pipeline_parallel
    if cost is None or not cost.bubble_s or not cost.time_s:
        return []
    share = cost.bubble_s / cost.time_s
    if share < _LEAST_BUBBLE:
        return []
    return [
        f"{_where(machine)} {units.percent(share)} of a training step is the bubble of {stages} "
        f"stages and {cost.micro_batches} micro-batches: with twice as many, and a batch twice as "
        f"large, it is {units.percent(share / (2 - share))}."
    ]


def _fits(report: CostReport, machine: MachineCost) -> list[str]:
    fit = machine.fit
    if fit is None or fit.fits:
        return []
    needed = (
        f"split over {fit.devices_needed} devices it does (--tp {fit.devices_needed})"
        if fit.devices_needed
        else "no split over devices that was tried makes it fit, and its weights alone fill "
        f"{math.ceil(fit.weight_bytes / max(1, fit.memory_bytes))} of them"
    )
    return [
        f"{report.model.name} with this workload does not fit into the memory of {machine.name}, "
        f"{units.memory(fit.memory_bytes)} (weights alone {units.memory(fit.weight_bytes)}): "
        f"{needed}."
    ]


def _fastest(report: CostReport) -> list[str]:
    timed = [each for each in report.machines if each.decode_tokens_per_s]
    if len(timed) < 2:
        return []
    timed.sort(key=lambda each: each.decode_tokens_per_s or 0.0)
    slow, fast = timed[0], timed[-1]
    assert slow.decode_tokens_per_s and fast.decode_tokens_per_s
    ratio = fast.decode_tokens_per_s / slow.decode_tokens_per_s
    return [f"{fast.name} decodes {units.times(ratio)} as fast as {slow.name}."]
