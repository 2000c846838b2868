"""Sentences that a user can act on, with the figures behind them, from a cost report."""

from topout import units
from topout.cost.hardware_times import level_rate
from topout.records import CostReport, MachineCost, PhaseCost

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


def findings_of(report: CostReport) -> list[str]:
    """What bounds the model on each machine, what fits, what the cache saves."""
    sentences: list[str] = []
    for machine in report.machines:
        sentences += [*_bounds(machine), *_fits(report, machine)]
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


def _bounds(machine: MachineCost) -> list[str]:
    sentences = []
    for cost in (machine.prefill, machine.decode, machine.forward):
        if cost is None or cost.time_s is None or cost.bound is None:
            continue
        sentence = (
            f"{_where(machine)} {_PHASES[cost.phase]} takes {units.seconds(cost.time_s)} and waits "
            f"mostly for {_waits_for(cost)}: {_FASTER[cost.bound]}."
        )
        sentences.append(sentence + _limit(machine, cost))
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
