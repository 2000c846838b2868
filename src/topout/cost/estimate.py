"""From the ops of a phase to its cost on one machine: times, what bounds them, how sure they are.

Also MFU and MBU of a phase, what a KV cache saves of a decoded token, and a report's sentences.
"""

import msgspec

from topout import units
from topout.cost.hardware_times import level_rate, peak_of
from topout.cost.ops import Op, OpTime, OpTimer, Pace, moved_bytes, other_flops, product_flops
from topout.cost.passes import generating_blocks
from topout.cost.phases import Phase, Plan, decode, prefill
from topout.records import (
    CacheSaving,
    CostBound,
    CostReport,
    Hardware,
    Interval,
    MachineCost,
    OpCost,
    PhaseCost,
)

EXPECTED = Pace()
_FASTER = {
    "memory": "fewer bytes make it faster: quantized weights, a larger batch to share them",
    "compute": "fewer or cheaper FLOPs make it faster: a smaller data type, shorter input",
    "overhead": "fewer and larger ops make it faster: a captured graph, fused kernels, a batch",
    "communication": "fewer devices or a faster link make it faster",
}
_PHASES = {
    "prefill": "the prompt",
    "decode": "a decoded token",
    "forward": "a forward pass",
    "training": "a training step",
}


def count_phase(phase: Phase, reason: str) -> tuple[PhaseCost, list[OpCost]]:
    """A phase's sums, its ops' FLOPs and bytes, and the reason why there is no time."""
    ops = [_op_cost(op, phase, None, None) for op in phase.ops]
    return _phase_cost(phase, [], None, reason), ops


def time_phase(phase: Phase, timer: OpTimer) -> tuple[PhaseCost, list[OpCost]]:
    """The same with times; counts alone where the timer misses a figure."""
    reason = timer.missing(phase.load)
    if reason is not None:
        return count_phase(phase, reason)
    times = [timer.time(op, phase.load, EXPECTED) for op in phase.ops]
    whole = sum(each.time_s for each in times)
    ops = [
        _op_cost(op, phase, each, each.time_s / whole if whole else 0.0)
        for op, each in zip(phase.ops, times, strict=True)
    ]
    low, high = (total_s(phase, timer, pace) for pace in (timer.fast, timer.slow))
    return _phase_cost(phase, times, Interval(low=low, high=high), None), ops


def total_s(phase: Phase, timer: OpTimer, pace: Pace = EXPECTED) -> float:
    """Seconds of all ops, one after the other."""
    return sum(timer.time(op, phase.load, pace).time_s for op in phase.ops)


def _op_cost(op: Op, phase: Phase, time: OpTime | None, share: float | None) -> OpCost:
    moved = moved_bytes(op, phase.load.sizes)
    return OpCost(
        name=op.name,
        part=op.part,
        phase=phase.name,
        kind=op.kind,
        count=op.count,
        shape=op.shape,
        flops=op.flops,
        weight_bytes=moved.weight,
        activation_bytes=moved.activation,
        kv_bytes=moved.kv,
        bytes=moved.total,
        arithmetic_intensity=op.flops / moved.total if moved.total else None,
        bound=time.bound if time else None,
        time_s=time.time_s if time else None,
        compute_s=time.compute_s if time else None,
        memory_s=time.memory_s if time else None,
        overhead_s=time.overhead_s if time else None,
        share=share,
    )


def _phase_cost(
    phase: Phase, times: list[OpTime], interval: Interval | None, reason: str | None
) -> PhaseCost:
    # A collective's payload goes over the link, not through memory.
    local = [op for op in phase.ops if op.kind != "collective"]
    flops, moved = (
        product_flops(local),
        sum(moved_bytes(op, phase.load.sizes).total for op in local),
    )
    cost = PhaseCost(
        phase=phase.name,
        tokens=phase.tokens,
        flops=flops,
        other_flops=other_flops(local),
        bytes=moved,
        arithmetic_intensity=flops / moved,
        interval_s=interval,
        reason=reason,
    )
    return _with_times(cost, times) if times else cost


def _with_times(cost: PhaseCost, times: list[OpTime]) -> PhaseCost:
    """Seconds by what is waited for: an op that is bound by memory waits for no arithmetic."""
    time_s = sum(each.time_s for each in times)
    parts: dict[CostBound, float] = {
        "compute": sum(each.compute_s for each in times if each.compute_s > each.memory_s),
        "memory": sum(each.memory_s for each in times if each.memory_s >= each.compute_s),
        "overhead": sum(each.overhead_s for each in times),
        "communication": sum(each.communication_s for each in times),
    }
    return msgspec.structs.replace(
        cost,
        time_s=time_s,
        tpot_s=time_s if cost.phase == "decode" else None,
        tokens_per_s=cost.tokens / time_s,
        compute_s=parts["compute"],
        memory_s=parts["memory"],
        overhead_s=parts["overhead"],
        communication_s=parts["communication"],
        bound=max(parts, key=lambda part: parts[part]),
    )


def with_utilization(cost: PhaseCost, phase: Phase, hardware: Hardware) -> PhaseCost:
    """`cost` with the shares of arithmetic and bandwidth that it uses; as it is without a time.

    MFU: the model's FLOPs, recomputation left out, over the time and the peak. MBU: all bytes.
    """
    if cost.time_s is None:
        return cost
    peak = peak_of(hardware, phase.load.dtype)
    memory = hardware.levels[-1] if hardware.levels else None
    flops_per_s, bytes_per_s = phase.model_flops / cost.time_s, cost.bytes / cost.time_s
    return msgspec.structs.replace(
        cost,
        mfu_of_spec_peak=_share(flops_per_s, peak.spec_flops_per_s if peak else None),
        mfu_of_ceiling=_share(flops_per_s, peak.achievable_flops_per_s if peak else None),
        mbu_of_spec_peak=_share(bytes_per_s, memory.spec_bytes_per_s if memory else None),
        mbu_of_ceiling=_share(bytes_per_s, memory.achievable_bytes_per_s if memory else None),
    )


def _share(rate: float, most: float | None) -> float | None:
    return None if most is None else rate / most


def kv_cache_saving(plan: Plan, timer: OpTimer | None) -> CacheSaving | None:
    """One decoded token at the workload's context, both ways; None for models that decode none.

    Without a cache the whole context goes through the model again, of which the last position
    gets logits. Times are there where `timer` has all figures.
    """
    if plan.architecture.kind not in ("decoder", "encoder_decoder"):
        return None
    cached, uncached = decode(plan), uncached_step(plan)
    timed = timer is not None and timer.missing(cached.load) is None
    flops, weights = kv_projection(plan)
    return CacheSaving(
        context_len=plan.workload.context_len,
        cached_flops=product_flops(cached.ops),
        cached_bytes=_bytes(cached),
        uncached_flops=product_flops(uncached.ops),
        uncached_bytes=_bytes(uncached),
        kv_projection_flops=flops,
        kv_projection_bytes=weights * cached.load.sizes.weight,
        cached_time_s=total_s(cached, timer) if timed and timer else None,
        uncached_time_s=total_s(uncached, timer) if timed and timer else None,
    )


def uncached_step(plan: Plan) -> Phase:
    """The pass that a token costs when nothing before it was kept."""
    return prefill(plan, prompt_len=plan.workload.context_len)


def kv_projection(plan: Plan) -> tuple[float, float]:
    """(FLOPs, weights read) for the key and the value of one new token of each sequence.

    A width C without grouped heads: 2·2·C² FLOPs over 2·C² weights in each block.
    """
    weights = sum(
        2.0 * block.count * block.attention.kv_width * block.width
        for block in generating_blocks(plan.share)
    )
    return 2.0 * plan.workload.batch_size * weights, weights


def _bytes(phase: Phase) -> float:
    return sum(moved_bytes(op, phase.load.sizes).total for op in phase.ops)


def findings_of(report: CostReport) -> list[str]:
    """What bounds the model on each machine, what fits, what the cache saves."""
    sentences: list[str] = []
    for machine in report.machines:
        sentences += [*_bounds(report, machine), *_fits(report, machine)]
    sentences += _fastest(report)
    saving = report.machines[0].cache_saving
    if saving is not None and saving.cached_flops:
        ratio = saving.uncached_flops / saving.cached_flops
        sentences.append(
            f"At a context of {saving.context_len} a token without a KV cache would need "
            f"{units.times(ratio)} the FLOPs and "
            f"{units.times(saving.uncached_bytes / saving.cached_bytes)} the bytes."
        )
    return sentences


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
    what = {"memory": "memory", "compute": "arithmetic", "overhead": "overhead"}
    return what.get(cost.bound or "", "communication")


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


def _fits(report: CostReport, machine: MachineCost) -> list[str]:
    fit = machine.fit
    if fit is None or fit.fits:
        return []
    needed = (
        f"split over {fit.devices_needed} devices it does (--tp {fit.devices_needed})"
        if fit.devices_needed
        else "no split over devices that was tried makes it fit"
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
