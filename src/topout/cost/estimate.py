"""From the ops of a phase to its cost on one machine: times, what bounds them, how sure they are.

Also MFU and MBU of a phase, and what a KV cache saves of a decoded token.
"""

import msgspec

from topout.cost.hardware_times import peak_of
from topout.cost.ops import Op, OpTime, OpTimer, Pace, moved_bytes, other_flops, product_flops
from topout.cost.passes import generating_blocks
from topout.cost.phases import Phase, Plan, decode, prefill
from topout.records import (
    CacheSaving,
    CostBound,
    Hardware,
    Interval,
    OpCost,
    PhaseCost,
)

EXPECTED = Pace()


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
