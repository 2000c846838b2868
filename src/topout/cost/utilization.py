"""MFU and MBU of a predicted phase: of the datasheet's peak, and of what was measured."""

import msgspec

from topout.cost.hardware_times import peak_of
from topout.cost.phases import Phase
from topout.records import Hardware, PhaseCost


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
