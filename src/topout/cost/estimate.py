"""From the ops of a phase to its cost on one machine: times, what bounds them, how sure they are.

Also MFU and MBU of a phase, what a KV cache saves of a decoded token, and a report's sentences.
"""

import math

import msgspec

from topout import units
from topout.cost.hardware_times import level_rate, peak_of
from topout.cost.ops import Op, OpTime, OpTimer, Pace, moved_bytes, other_flops, product_flops
from topout.cost.passes import generating_blocks
from topout.cost.phases import Phase, Plan, decode, prefill
from topout.cost.transformer import expected_experts
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
_BATCHES = (1, 4, 16, 64)  # as those of the KV cache's table
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


def count_phase(phase: Phase, reason: str) -> tuple[PhaseCost, list[OpCost]]:
    """A phase's sums, its ops' FLOPs and bytes, and the reason why there is no time."""
    ops = [_op_cost(op, phase, None, None) for op in phase.ops]
    return _phase_cost(phase, None, None, reason), ops


class PhaseTime(msgspec.Struct, frozen=True, kw_only=True):
    """What a phase takes on a device: its ops one after the other, and waiting for other stages."""

    ops: list[OpTime]  # of communication what is waited for
    hidden_s: float = 0.0  # of communication, beside arithmetic
    bubble_s: float = 0.0

    @property
    def time_s(self) -> float:
        """Ops and bubble."""
        return sum(each.time_s for each in self.ops) + self.bubble_s


def phase_time(phase: Phase, timer: OpTimer, pace: Pace = EXPECTED) -> PhaseTime:
    """The times of `phase` at one pace; at the slow end no communication is hidden.

    Gradients are summed while the last micro-batch goes backward, as PyTorch's
    DistributedDataParallel does; what takes longer is waited for.
    """

    def seconds(ops: list[Op]) -> list[OpTime]:
        return [timer.time(op, phase.load, pace) for op in ops]

    times, pipeline = seconds(phase.ops), phase.pipeline
    room_s = 0.0 if pace == timer.slow else sum(each.time_s for each in seconds(phase.behind))
    hidden_s = 0.0
    for place, op in enumerate(phase.ops):
        if op.over == "data":
            gradients_s = times[place].communication_s
            hidden_s = min(gradients_s, room_s)
            times[place] = OpTime(communication_s=gradients_s - hidden_s)
    fill_s = sum(each.time_s for each in seconds(phase.fill)) / pipeline.chunks
    if phase.is_steady:  # the other micro-batches are on their way meanwhile
        covered = 1 - 1 / pipeline.micro_batches
        fill_s = max(0.0, fill_s - covered * sum(each.time_s for each in times))
    return PhaseTime(ops=times, hidden_s=hidden_s, bubble_s=fill_s)


def time_phase(phase: Phase, timer: OpTimer) -> tuple[PhaseCost, list[OpCost]]:
    """The same with times; counts alone where the timer misses a figure."""
    reason = timer.missing(phase.load)
    if reason is not None:
        return count_phase(phase, reason)
    found = phase_time(phase, timer)
    whole = found.time_s
    ops = [
        _op_cost(op, phase, each, each.time_s / whole if whole else 0.0)
        for op, each in zip(phase.ops, found.ops, strict=True)
    ]
    if found.bubble_s:
        ops.append(_bubble_cost(phase, found))
    low, high = (phase_time(phase, timer, pace).time_s for pace in (timer.fast, timer.slow))
    return _phase_cost(phase, found, Interval(low=low, high=high), None), ops


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


def _bubble_cost(phase: Phase, found: PhaseTime) -> OpCost:
    """Waiting for the other stages, as an op without work, so that the shares make up the time."""
    pipeline = phase.pipeline
    return OpCost(
        name="bubble",
        part="pipeline",
        phase=phase.name,
        kind="bubble",
        count=1,
        shape=f"{pipeline.stages} stages, {pipeline.micro_batches} micro-batches",
        flops=0.0,
        weight_bytes=0.0,
        activation_bytes=0.0,
        kv_bytes=0.0,
        bytes=0.0,
        bound="bubble",
        time_s=found.bubble_s,
        share=found.bubble_s / found.time_s,
    )


def _phase_cost(
    phase: Phase, found: PhaseTime | None, interval: Interval | None, reason: str | None
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
        micro_batches=phase.pipeline.micro_batches,
        interval_s=interval,
        reason=reason,
    )
    return _with_times(cost, found) if found else cost


def _with_times(cost: PhaseCost, found: PhaseTime) -> PhaseCost:
    """Seconds by what is waited for: an op that is bound by memory waits for no arithmetic."""
    time_s, times = found.time_s, found.ops
    parts: dict[CostBound, float] = {
        "compute": sum(each.compute_s for each in times if each.compute_s > each.memory_s),
        "memory": sum(each.memory_s for each in times if each.memory_s >= each.compute_s),
        "overhead": sum(each.overhead_s for each in times),
        "communication": sum(each.communication_s for each in times),
        "bubble": found.bubble_s,
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
        hidden_s=found.hidden_s,
        bubble_s=parts["bubble"],
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
        cached_time_s=phase_time(cached, timer).time_s if timed and timer else None,
        uncached_time_s=phase_time(uncached, timer).time_s if timed and timer else None,
    )


def uncached_step(plan: Plan) -> Phase:
    """The pass that a token costs when nothing before it was kept."""
    return prefill(plan, prompt_len=plan.workload.context_len)


def kv_projection(plan: Plan) -> tuple[float, float]:
    """(FLOPs, weights read) for the key and the value of one new token of each sequence.

    A width C without grouped heads: 2·2·C² FLOPs over 2·C² weights in each block.
    """
    counted = plan.architecture.counted
    if counted is not None:  # what is kept of a token is made of its states by one product
        made = sum(each.per_token for each in counted.kept if not each.of_source)
        weights = made * plan.architecture.width
        return 2.0 * plan.workload.batch_size * weights, weights
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
