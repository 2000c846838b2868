"""What a KV cache saves: one token with it, and with everything before it computed again."""

from topout.cost.estimate import total_s
from topout.cost.op_time import OpTimer
from topout.cost.ops import moved_bytes, product_flops
from topout.cost.phases import Phase, Plan, decode, prefill
from topout.cost.transformer import generating_blocks
from topout.records import CacheSaving


def cache_saving(plan: Plan, timer: OpTimer | None) -> CacheSaving | None:
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
