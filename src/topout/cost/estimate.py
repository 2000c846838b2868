"""From the ops of a phase to its cost on one machine: times, what bounds them, how sure it is."""

import msgspec

from topout.cost.op_time import OpTime, OpTimer, Pace
from topout.cost.ops import Op, moved_bytes, other_flops, product_flops
from topout.cost.phases import Phase
from topout.records import CostBound, Interval, OpCost, PhaseCost

EXPECTED = Pace()


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
