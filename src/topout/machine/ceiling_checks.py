"""What measured ceilings cannot be: above what the clock allows, or against each other.

Disturbances lower a measurement, and hardly ever both sides of a comparison alike. So where two
ceilings contradict each other, the lower one is measured again.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from topout import units
from topout.errors import InputError, RecordError
from topout.machine.catalog.find import check_hardware
from topout.machine.catalog.measured import hardware_of
from topout.machine.effort import CeilingParts, Part, join_parts
from topout.machine.figures import check_figures
from topout.records import BandwidthCeiling, Ceilings, ComputeCeiling, Doubt, Dtype, Machine
from topout.roofline import MAIN_MEMORY, compute_at, level_ceiling

Rated = ComputeCeiling | BandwidthCeiling
_Measured = TypeVar("_Measured", bound=Rated)

# Less is the scatter of two measurements, and what a shared memory loses to more threads.
_TOLERANCE = 0.1
# Turbo of a few threads lies above the clock that was inferred of all.
_CLOCK_MARGIN = 1.5
_MOST_LOADS = 4  # of a vector register, per cycle
_MOST_AGAIN = 2  # times that a contradiction is measured again
_MOST_NAMED = 3  # contradictions in one doubt
# Bits of multiply-add results per cycle of a core: all vector units of the widest core there is.
_BITS_PER_CYCLE = {"avx512f": 2 * 512, "sve": 8 * 128, "avx2": 2 * 256, "neon": 6 * 128}
_BITS_PER_CYCLE |= {"asimd": _BITS_PER_CYCLE["neon"]}
_REGISTER_BYTES = {"avx512f": 64, "sve": 64, "avx2": 32, "neon": 16, "asimd": 16}
# Features of a CPU with a unit of their own for a data type, and its operations over those of fp32
# in a register of the same width: pairs and fours of narrow factors, blocks of matrices (bfmmla,
# smmla), and the tiles of AMX.
_UNITS: dict[str, tuple[Dtype, int]] = {
    "avx512_bf16": ("bf16", 2),
    "amx_bf16": ("bf16", 16),
    "bf16": ("bf16", 4),
    "svebf16": ("bf16", 4),
    "avx512_vnni": ("int8", 4),
    "avx_vnni": ("int8", 4),
    "amx_int8": ("int8", 32),
    "dotprod": ("int8", 4),
    "i8mm": ("int8", 8),
    "svei8mm": ("int8", 8),
    "avx512_fp16": ("fp16", 2),
    "fp16": ("fp16", 2),
}
_INT8_OVER_FP32 = 4  # without a unit of its own: as many as a register holds
# NVIDIA's tensor cores: the data type, and the compute capability from which they multiply it.
_TENSOR_CORES: dict[Dtype, float] = {"fp16": 7.0, "bf16": 8.0}
# A unit of its own that is no wider: Sapphire Rapids runs vdpbf16ps at half the rate of fp32.
_NARROW_UNITS = {"avx512_bf16"}
_ONLY_PYTORCH = "torch matmul"  # its kernels for narrow types may be slow ones


class Contradiction(NamedTuple):
    """What cannot be together, in a sentence, and the part of which threads is to be doubted."""

    part: Part
    threads: int
    sentence: str


def what_of(ceiling: Rated) -> tuple[object, ...]:
    """What was measured: all of a ceiling but how it came out."""
    if isinstance(ceiling, ComputeCeiling):
        return ceiling.dtype, ceiling.threads, ceiling.instruction
    return ceiling.level, ceiling.threads, ceiling.page, ceiling.working_set_bytes


def contradictions(ceilings: Ceilings, machine: Machine) -> list[Contradiction]:
    """Everything that cannot be: a nearer level slower than a farther one at the same threads,
    more threads slower than fewer, a wider unit slower than that of fp32, more than the clock
    allows. Differences up to 10 % are scatter.
    """
    return [
        *_above_the_clock(ceilings, machine),
        *_nearer_slower(ceilings),
        *_more_threads_slower(ceilings),
        *_wider_slower(ceilings, machine),
    ]


def measure_again(
    ceilings: Ceilings, machine: Machine, measure: Callable[[int, Part], CeilingParts]
) -> Ceilings:
    """The ceilings with what contradicts itself measured again, at most twice.

    The better of each figure stands, but for one above what the clock allows.
    """
    for _ in range(_MOST_AGAIN):
        found = contradictions(ceilings, machine)
        if not found:
            break
        again = join_parts(
            [measure(*what) for what in dict.fromkeys((each.threads, each.part) for each in found)]
        )
        ceilings = msgspec.structs.replace(
            ceilings,
            compute=_better(ceilings.compute, again.compute, ceilings, machine),
            bandwidth=_better(ceilings.bandwidth, again.bandwidth, ceilings, machine),
        )
    return ceilings


def _better(
    first: Sequence[_Measured], again: Sequence[_Measured], of: Ceilings, machine: Machine
) -> list[_Measured]:
    """The better of two measurements of the same figure; those of one alone stay."""

    def merit(each: Rated) -> tuple[bool, float]:
        rate, allowed = rate_of(each), most_allowed(each, of, machine)
        return rate <= allowed, rate if rate <= allowed else -rate

    best: dict[tuple[object, ...], _Measured] = {}
    for each in (*first, *again):
        rival = best.setdefault(what_of(each), each)
        if merit(each) > merit(rival):
            best[what_of(each)] = each
    return list(best.values())


def contradiction_doubts(found: Sequence[Contradiction]) -> list[Doubt]:
    """One doubt that names the contradictions; none without any."""
    if not found:
        return []
    named = "; ".join(each.sentence for each in found[:_MOST_NAMED])
    rest = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return [
        Doubt(
            about="contradiction",
            sentence=f"Ceilings contradict what they should be: {named}{rest}.",
            remedy="Measure again on a quiet machine (`topout machine --refresh`).",
        )
    ]


def check_ceilings(ceilings: Ceilings, machine: Machine, source: str) -> None:
    """Raise RecordError for ceilings that cannot be this machine's, as for machine files.

    Refused are those of another host, figures that are not finite and above 0, and rates well
    above what the clock allows or what the catalog knows of the device.
    """
    if ceilings.host_key != machine.host_key:
        raise RecordError(f"{source} is of another host.", "Measure: `topout machine`.")
    check_figures(ceilings, source)
    for each in _above_the_clock(ceilings, machine):
        raise RecordError(f"{source}: {each.sentence}.", "Measure again: `topout machine`.")
    try:
        hardware = hardware_of(machine, ceilings)
    except InputError:
        return  # too little is known of the machine to tell what its figures should be
    check_hardware(hardware, source)


def rate_of(ceiling: Rated) -> float:
    """FLOP/s or bytes/s."""
    return ceiling.flops_per_s if isinstance(ceiling, ComputeCeiling) else ceiling.bytes_per_s


def most_allowed(ceiling: Rated, ceilings: Ceilings, machine: Machine) -> float:
    """The rate that clock × lanes × units allow, generously; infinite where they are not known.

    The clock is the higher one of the processor's own figure and the one inferred, and half as
    much again; lanes and units are those of the widest core with these instructions.
    """
    bits = max((_BITS_PER_CYCLE.get(each, 0) for each in machine.vector_isa), default=0)
    clocks = [each for each in (machine.clock_max_hz, ceilings.clock_hz) if each is not None]
    if ceilings.device != "cpu" or not bits or not clocks:
        return math.inf
    cycles_per_s = ceiling.threads * _CLOCK_MARGIN * max(clocks)
    if isinstance(ceiling, BandwidthCeiling):
        register = max(_REGISTER_BYTES.get(each, 0) for each in machine.vector_isa)
        return cycles_per_s * _MOST_LOADS * register
    own = [times for dtype, times in _units(machine) if dtype == ceiling.dtype]
    plain = _INT8_OVER_FP32 if ceiling.dtype == "int8" else 1
    return cycles_per_s * 2 * bits / 32 * max(own, default=plain)


def _units(machine: Machine) -> list[tuple[Dtype, int]]:
    """(data type, operations over those of fp32) of the units that the CPU says it has."""
    return [_UNITS[isa] for isa in machine.vector_isa if isa in _UNITS]


def _above_the_clock(ceilings: Ceilings, machine: Machine) -> Iterator[Contradiction]:
    rated: list[Rated] = [*ceilings.compute, *ceilings.bandwidth]
    for each in rated:
        most = most_allowed(each, ceilings, machine)
        if rate_of(each) > most:
            is_compute = isinstance(each, ComputeCeiling)
            allowed = units.flops_per_s(most) if is_compute else units.bytes_per_s(most)
            yield Contradiction(
                "compute" if is_compute else "bandwidth",
                each.threads,
                f"{_told(each)}, and the clock allows {allowed}",
            )


def _nearer_slower(ceilings: Ceilings) -> Iterator[Contradiction]:
    """Levels from the nearest to memory, at each count of threads."""
    for threads in _counts(ceilings.bandwidth):
        levels = {each.level for each in ceilings.bandwidth if each.threads == threads}
        ordered = sorted(levels, key=lambda level: (level in MAIN_MEMORY, level))
        rates = {level: _level_rate(ceilings, level, threads) for level in ordered}
        for near, far in itertools.pairwise(ordered):
            if rates[near] < rates[far] * (1 - _TOLERANCE):
                yield Contradiction(
                    "bandwidth",
                    threads,
                    f"{near} is read at {units.bytes_per_s(rates[near])} by {_threads(threads)}, "
                    f"and {far}, which is farther, at {units.bytes_per_s(rates[far])}",
                )


def _more_threads_slower(ceilings: Ceilings) -> Iterator[Contradiction]:
    for dtype in dict.fromkeys(each.dtype for each in ceilings.compute):
        of_dtype = [each for each in ceilings.compute if each.dtype == dtype]
        rates = {n: compute_at(ceilings, dtype, n) or 0.0 for n in _counts(of_dtype)}
        for more, fewer in _falls(rates):
            yield Contradiction(
                "compute",
                more,
                f"{dtype} reaches {units.flops_per_s(rates[more])} with {_threads(more)}, "
                f"{units.flops_per_s(rates[fewer])} with {_threads(fewer)}",
            )
    for level in dict.fromkeys(each.level for each in ceilings.bandwidth):
        of_level = [each for each in ceilings.bandwidth if each.level == level]
        rates = {n: _level_rate(ceilings, level, n) for n in _counts(of_level)}
        for more, fewer in _falls(rates):
            yield Contradiction(
                "bandwidth",
                more,
                f"{level} is read at {units.bytes_per_s(rates[more])} by {_threads(more)}, "
                f"at {units.bytes_per_s(rates[fewer])} by {_threads(fewer)}",
            )


def _falls(rates: dict[int, float]) -> Iterator[tuple[int, int]]:
    """(threads, fewer threads that reach more); counts ascend."""
    best: int | None = None
    for threads, rate in rates.items():
        if best is not None and rate < rates[best] * (1 - _TOLERANCE):
            yield threads, best
        if best is None or rate > rates[best]:
            best = threads


def _wider_slower(ceilings: Ceilings, machine: Machine) -> Iterator[Contradiction]:
    for threads in _counts(ceilings.compute):
        plain = _best(ceilings, "fp32", threads)
        for dtype in _wider_types(ceilings.device, machine):
            found = _best(ceilings, dtype, threads)
            if plain is None or found is None:
                continue
            if found.instruction == _ONLY_PYTORCH and "amx_tile" not in machine.vector_isa:
                continue
            if found.flops_per_s < plain.flops_per_s * (1 - _TOLERANCE):
                yield Contradiction("compute", threads, f"{_told(found)}, {_told(plain)}")


def _wider_types(device: str, machine: Machine) -> list[Dtype]:
    """The types that this device has a unit for which is at least as wide as that of fp32."""
    if device == "cpu":
        wide = [isa for isa in machine.vector_isa if isa not in _NARROW_UNITS]
        return list(dict.fromkeys(_UNITS[isa][0] for isa in wide if isa in _UNITS))
    text = machine.gpus[0].compute_capability if machine.gpus else None
    capability = float(text) if text else 0.0
    return [dtype for dtype, since in _TENSOR_CORES.items() if capability >= since]


def _best(ceilings: Ceilings, dtype: Dtype, threads: int) -> ComputeCeiling | None:
    found = [each for each in ceilings.compute if (each.dtype, each.threads) == (dtype, threads)]
    return max(found, key=lambda each: each.flops_per_s, default=None)


def _level_rate(ceilings: Ceilings, level: str, threads: int) -> float:
    found = level_ceiling(ceilings, level, threads)
    return found.bytes_per_s if found is not None else 0.0


def _counts(measured: Sequence[ComputeCeiling] | Sequence[BandwidthCeiling]) -> list[int]:
    return sorted({each.threads for each in measured})


def _told(ceiling: Rated) -> str:
    if isinstance(ceiling, BandwidthCeiling):
        rate = units.bytes_per_s(ceiling.bytes_per_s)
        return f"{ceiling.level} is read at {rate} by {_threads(ceiling.threads)}"
    rate = units.flops_per_s(ceiling.flops_per_s)
    what = f"{ceiling.dtype} ({ceiling.instruction})"
    return f"{what} reaches {rate} with {_threads(ceiling.threads)}"


def _threads(count: int) -> str:
    return units.counted(count, "thread")
