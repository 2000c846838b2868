"""What a version can reach at best: by its innermost loop, and by the bytes it moves."""

from collections.abc import Sequence
from typing import NamedTuple

from topout.gemm.blocking_traffic import ModelledTraffic
from topout.gemm.case import Case
from topout.gemm.instruction_mix import MainLoop
from topout.records.machine import Ceilings

# What x86 cores have done in each cycle since Haswell (2013) and Zen 2 (2019), and Arm's large ones
# at the least; wider vectors that a core takes in halves leave the ratios as they are.
MULTIPLY_ADDS, LOADS, STORES, INSTRUCTIONS = 2, 2, 1, 6
# Cycles until a sum can be added to again: of a multiply-add, and at the least of an addition.
FUSED_LATENCY, ADD_LATENCY = 4, 2
# Where the bytes that come into a level are read from.
_READ_FROM = {"registers": "L1", "L1": "L2", "L2": "L3", "L3": "DRAM"}
_SCALAR_BITS = 64


class LoopPace(NamedTuple):
    """Cycles of one turn of a loop by each of a core's limits."""

    cycles: dict[str, float]
    ideal: float  # with nothing but fused multiply-adds

    @property
    def limit(self) -> str:
        """What takes the most cycles; the arithmetic where others take as many."""
        return max(self.cycles, key=lambda name: (self.cycles[name], name == "multiply-adds"))

    @property
    def of_peak(self) -> float:
        """The share of the core's rate of fused multiply-adds that the limit leaves, 0 to 1."""
        return self.ideal / self.cycles[self.limit]


def loop_pace(loop: MainLoop) -> LoopPace:
    """How fast a core of the usual kind goes through a loop whose data are in the first cache."""
    return LoopPace(
        {
            "multiply-adds": loop.arithmetic / MULTIPLY_ADDS,
            "loads": loop.mix.loads / LOADS,
            "stores": loop.mix.stores / STORES,
            "instructions": loop.instructions / INSTRUCTIONS,
            "latency": _waiting(loop),
        },
        ideal=loop.mix.multiply_adds / MULTIPLY_ADDS,
    )


def _waiting(loop: MainLoop) -> float:
    """Cycles in which the additions to one sum follow each other."""
    if not loop.sums_in_registers:
        return 0.0
    fused = min(loop.chained, loop.fused / loop.sums_in_registers)
    return fused * FUSED_LATENCY + (loop.chained - fused) * ADD_LATENCY


class TimeLimit(NamedTuple):
    """A time that a product cannot fall below, by one ceiling of the machine."""

    name: str  # "arithmetic", "loop", or the level that is read: "L1", "L2", "L3", "DRAM"
    time_s: float
    rate: float  # FLOP/s or bytes/s of the ceiling


def time_limits(
    case: Case,
    traffic: Sequence[ModelledTraffic],
    loop: MainLoop | None,
    ceilings: Ceilings,
) -> list[TimeLimit]:
    """The times that the machine's measured ceilings allow at best, the longest first.

    Ceilings of as many threads as the case has, or else of the most that were measured below.
    """
    found: list[TimeLimit] = []
    peak = _best(
        [(c.threads, c.flops_per_s) for c in ceilings.compute if c.dtype == case.dtype],
        case.threads,
    )
    if peak:
        found.append(TimeLimit("arithmetic", case.flops / peak, peak))
    for each in traffic:
        level = _READ_FROM.get(each.level, "")
        # Bandwidth of the first cache is that of vectors; loads of single values do not meet it.
        if level == "L1" and (loop is None or loop.mix.vector_bits <= _SCALAR_BITS):
            continue
        rates = [(b.threads, b.bytes_per_s) for b in ceilings.bandwidth if b.level == level]
        if rate := _best(rates, case.threads):
            found.append(TimeLimit(level, each.bytes / rate, rate))
    if loop is not None and ceilings.clock_hz:
        pace = loop_pace(loop)
        if pace.limit != "multiply-adds":
            turns = case.flops / 2 / loop.multiply_adds / case.threads
            time_s = turns * pace.cycles[pace.limit] / ceilings.clock_hz
            found.append(TimeLimit("loop", time_s, case.flops / time_s))
    return sorted(found, key=lambda limit: limit.time_s, reverse=True)


def _best(rates: Sequence[tuple[int, float]], threads: int) -> float | None:
    """The best rate at so many threads, or at the nearest lower count; None without any."""
    counts = [count for count, _ in rates if count <= threads]
    if not counts:
        return None
    return max(rate for count, rate in rates if count == max(counts))
