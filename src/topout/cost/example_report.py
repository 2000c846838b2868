"""A worked example on each machine: what its roofs allow, and where the measured run stands."""

import statistics
from collections.abc import Sequence

from topout import units
from topout.cost.examples import DOUBLE_BYTES, crossover, example, unit_of
from topout.cost.ops import ELEMENT_BYTES
from topout.cost.roofs import BandwidthRoof, ComputeRoof, Roofs, roofs_of
from topout.records import (
    Crossover,
    Example,
    ExampleMachine,
    ExamplePlacement,
    ExamplePrediction,
    ExampleReport,
    Hardware,
    MeasuredExample,
    Traffic,
)
from topout.records.record import stamp
from topout.roofline import (
    ROOF_TOLERANCE,
    Placement,
    attainable_flops_per_s,
    bandwidth_at,
    place,
    ridge_point,
    share_of,
)

_PEAK_BYTES = {**ELEMENT_BYTES, "fp64": 8.0, "int4": 0.5}
_CHANGED = 0.15  # of a ceiling, from when it was measured to the run
_NO_FP64 = "its file states no fp64 rate"
_NO_LEVELS = "its file states no bandwidth"


def report_example(
    name: str,
    n: int | None,
    hardware: Sequence[Hardware],
    measured: MeasuredExample | None = None,
    reason: str = "not asked for",
) -> ExampleReport:
    """The example on every machine, and the measured run under the roofs of the one it ran on.

    `reason` says why nothing was measured. Raises UnknownNameError and InputError as `example`.
    """
    counted = example(name, n)
    here = _machine_of(measured, hardware)
    placements = _placements(counted, measured, here) if measured and here else []
    machines = [example_on(counted, each) for each in hardware]
    reasons = {} if measured else {"measured": reason}
    if measured and not placements:
        reasons["placements"] = "the ceilings of the machine that it ran on are not known"
    return ExampleReport(
        **stamp(),
        example=counted,
        machines=machines,
        measured=measured,
        placements=placements,
        findings=[
            *(sentence for machine in machines for sentence in _of_machine(counted, machine)),
            *_of_the_run(placements, here),
        ],
        reasons=reasons,
    )


def example_on(counted: Example, hardware: Hardware) -> ExampleMachine:
    """What the roofs of one machine allow the example, for every memory level and traffic.

    What the machine's figures do not suffice for is absent, with the reason.
    """
    roofs = roofs_of(hardware)
    peak = roofs.peak("fp64", unit_of(counted.name)) or roofs.peak("fp64")
    holding = roofs.level_holding(counted.working_set_bytes, across_ops=False)
    reasons = {}
    if peak is None:
        reasons["flops_per_s"] = _NO_FP64
    if holding is None:
        reasons["predictions"] = _NO_LEVELS
    return ExampleMachine(
        name=hardware.name,
        hardware=hardware,
        flops_per_s=peak.flops_per_s if peak else None,
        flops_basis=peak.basis if peak else None,
        flops_note=_note(peak),
        level=holding.level if holding else None,
        predictions=[
            _prediction(counted, traffic, level, peak)
            for level in roofs.bandwidth
            for traffic in counted.traffic
            if peak is not None
        ],
        crossovers=_crossovers(roofs) if counted.name == "matmul" else [],
        reasons=reasons,
    )


def served_by(report: ExampleReport, machine: ExampleMachine) -> ExamplePrediction | None:
    """What is predicted on the level that holds the data, with the bytes that are counted."""
    return _served(report.example, machine)


def _served(counted: Example, machine: ExampleMachine) -> ExamplePrediction | None:
    wanted = (machine.level, counted.counted)
    found = (each for each in machine.predictions if (each.level, each.traffic) == wanted)
    return next(found, None)


def counted_traffic(counted: Example) -> Traffic:
    """The traffic that predictions stand on."""
    return next(each for each in counted.traffic if each.name == counted.counted)


def _prediction(
    counted: Example, traffic: Traffic, level: BandwidthRoof, peak: ComputeRoof
) -> ExamplePrediction:
    ridge = ridge_point(peak.flops_per_s, level.bytes_per_s)
    intensity = traffic.arithmetic_intensity
    rate = attainable_flops_per_s(intensity, peak.flops_per_s, level.bytes_per_s)
    return ExamplePrediction(
        level=level.level,
        traffic=traffic.name,
        bytes_per_s=level.bytes_per_s,
        basis=level.basis,
        ridge_point=ridge,
        attainable_flops_per_s=rate,
        time_s=counted.flops / rate,
        region="memory-bound" if intensity < ridge else "compute-bound",
    )


def _note(peak: ComputeRoof | None) -> str:
    if peak is None or peak.basis != "derived":
        return ""
    return "half of the fp32 rate: a vector register holds half as many doubles"


def _crossovers(roofs: Roofs) -> list[Crossover]:
    memory = roofs.level()
    if memory is None:
        return []
    strongest = {roof.dtype: roofs.peak(roof.dtype) for roof in roofs.compute}
    return [
        Crossover(
            dtype=dtype,
            flops_per_s=peak.flops_per_s,
            basis=peak.basis,
            ridge_point=ridge_point(peak.flops_per_s, memory.bytes_per_s),
            n_of_doubles=crossover(peak.flops_per_s, memory.bytes_per_s),
            n_of_dtype=crossover(peak.flops_per_s, memory.bytes_per_s)
            * _PEAK_BYTES[dtype]
            / DOUBLE_BYTES,
        )
        for dtype, peak in sorted(
            strongest.items(), key=lambda item: item[1].flops_per_s if item[1] else 0.0
        )
        if peak is not None
    ]


def _machine_of(measured: MeasuredExample | None, hardware: Sequence[Hardware]) -> Hardware | None:
    """The machine among `hardware` on which the run was measured."""
    if measured is None:
        return None
    for each in hardware:
        if each.ceilings is not None and each.ceilings.host_key == measured.host_key:
            return each
    return None


def _placements(
    counted: Example, measured: MeasuredExample, here: Hardware
) -> list[ExamplePlacement]:
    """The run under the roofs of its working set, once for each way to count its bytes."""
    peak = roofs_of(here).peak("fp64", unit_of(counted.name))
    if here.ceilings is None or peak is None or not here.ceilings.bandwidth:
        return []
    bandwidth = bandwidth_at(here.ceilings, measured.working_set_bytes, measured.threads)
    flops_per_s = peak.flops_per_s
    if measured.read_bytes_per_s:
        bandwidth = statistics.median(measured.read_bytes_per_s)
    if measured.fp32_flops_per_s and peak.basis == "derived":
        flops_per_s = statistics.median(measured.fp32_flops_per_s) / 2
    rate = measured.flops_per_s.median
    return [
        _placement(
            traffic,
            place(traffic.arithmetic_intensity, rate, flops_per_s, bandwidth, ROOF_TOLERANCE),
            flops_per_s,
            bandwidth,
        )
        for traffic in counted.traffic
    ]


def _placement(
    traffic: Traffic, placed: Placement, flops_per_s: float, bytes_per_s: float
) -> ExamplePlacement:
    moved = placed.achieved_flops_per_s / placed.arithmetic_intensity
    return ExamplePlacement(
        traffic=traffic.name,
        arithmetic_intensity=placed.arithmetic_intensity,
        bytes_per_s=moved,
        read_bytes_per_s=moved * traffic.read_bytes / traffic.bytes,
        ceiling_flops_per_s=flops_per_s,
        ceiling_bytes_per_s=bytes_per_s,
        attainable_flops_per_s=placed.attainable_flops_per_s,
        attained_share=placed.attained_share,
        region=placed.region,
    )


def _of_the_run(placements: list[ExamplePlacement], here: Hardware | None) -> list[str]:
    found = [
        f"Counted as “{placed.traffic}” the measured run moved "
        f"{units.bytes_per_s(placed.bytes_per_s)} and reached "
        f"{share_of(placed.attained_share)} of what the roofline allowed at that moment: "
        f"{_meaning(placed)}."
        for placed in placements
    ]
    memory = roofs_of(here).level() if here else None
    if placements and memory and memory.reached_basis == "measured":
        now, filed = placements[0].ceiling_bytes_per_s, memory.bytes_per_s
        if now < filed * (1 - _CHANGED):
            found.append(
                f"The roof was lower during the run than when it was measured: "
                f"{units.bytes_per_s(now)}, not {units.bytes_per_s(filed)}. Shares are of the "
                "lower one; the chart draws the other."
            )
    return found


def _of_machine(counted: Example, machine: ExampleMachine) -> list[str]:
    served = _served(counted, machine)
    if served is None:
        return [f"{machine.name}: {reason}." for reason in machine.reasons.values()]
    intensity = counted_traffic(counted).arithmetic_intensity
    side = "left" if served.region == "memory-bound" else "right"
    return [
        f"{machine.name}: {units.significant(intensity)} FLOP/byte lies {side} "
        f"of the ridge point of {served.level} "
        f"({units.significant(served.ridge_point)} FLOP/byte), so the work is {served.region}: "
        f"at most {units.flops_per_s(served.attainable_flops_per_s)}, "
        f"at least {units.seconds(served.time_s)}."
    ]


def _meaning(placed: ExamplePlacement) -> str:
    if placed.region == "above the bandwidth roof":
        return _why_above(placed)
    return {
        "memory-bound": "it is bound by memory",
        "compute-bound": "it is bound by arithmetic",
        "poor": "under half of both roofs, and neither explains its time",
        "above the compute roof": "the ceiling was measured in a slower moment",
    }[placed.region]


def _why_above(placed: ExamplePlacement) -> str:
    """Ceilings are of reading, and many memories write beside it: only reads can prove a cache."""
    reads = units.bytes_per_s(placed.read_bytes_per_s)
    if placed.read_bytes_per_s > placed.ceiling_bytes_per_s * (1 + ROOF_TOLERANCE):
        return f"main memory cannot read {reads}, so caches served a part of these bytes"
    return f"the roof is of reading, and only {reads} was read; the rest was written beside it"
