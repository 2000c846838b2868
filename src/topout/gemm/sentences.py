"""What the figures about a version say, in sentences."""

from collections.abc import Sequence
from typing import NamedTuple

from topout.gemm.cachegrind import Simulation
from topout.gemm.case import Case
from topout.gemm.instruction_mix import (
    ADD_LATENCY,
    FUSED_LATENCY,
    MULTIPLY_ADDS,
    LoopPace,
    MainLoop,
    loop_pace,
)
from topout.gemm.loop_nest import Blocking, ModelledTraffic
from topout.records.machine import Ceilings
from topout.roofline import compute_at, is_above, level_ceiling
from topout.units import counted, flops_per_s, percent, seconds, si, significant

_TELLING = 0.5  # a share of one array that is worth a word
_CONFLICTS = 2.0  # times what the model says
# Where the bytes that come into a level are read from.
_READ_FROM = {"registers": "L1", "L1": "L2", "L2": "L3", "L3": "DRAM"}
_SCALAR_BITS = 64


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
    if peak := compute_at(ceilings, case.dtype, case.threads):
        found.append(TimeLimit("arithmetic", case.flops / peak, peak))
    for each in traffic:
        level = _READ_FROM.get(each.level, "")
        # Bandwidth of the first cache is that of vectors; loads of single values do not meet it.
        if level == "L1" and (loop is None or loop.mix.vector_bits <= _SCALAR_BITS):
            continue
        if ceiling := level_ceiling(ceilings, level, case.threads):
            rate = ceiling.bytes_per_s
            found.append(TimeLimit(level, each.bytes / rate, rate))
    if loop is not None and ceilings.clock_hz:
        pace = loop_pace(loop)
        if pace.limit != "multiply-adds":
            turns = case.flops / 2 / loop.multiply_adds / case.threads
            time_s = turns * pace.cycles[pace.limit] / ceilings.clock_hz
            found.append(TimeLimit("loop", time_s, case.flops / time_s))
    return sorted(found, key=lambda limit: limit.time_s, reverse=True)


def _size(count: float) -> str:
    return si(count, "B")


def traffic_sentences(case: Case, traffic: Sequence[ModelledTraffic]) -> list[str]:
    """How much comes into each level, and what of it."""
    moved = ", ".join(
        f"{_size(each.bytes)} into {_name(each.level)} ({_intensity(case, each.bytes)})"
        for each in reversed(traffic)
    )
    sentences = [f"By its loops and block sizes a product brings {moved}."]
    outermost = traffic[-1]
    if outermost.level != "registers" and outermost.bytes >= 1.5 * case.least_bytes:
        often = significant(outermost.bytes / case.least_bytes, 2)
        sentences.append(
            f"A, B and C are {_size(case.least_bytes)}: what comes into {outermost.level} is "
            f"{often} times that."
        )
    for each in traffic:
        share = each.by_array.get(each.largest, 0.0) / each.bytes if each.bytes else 0.0
        if each.level in ("L1", "L2") and share >= _TELLING:
            part = "nearly all" if share > 0.99 else percent(share)
            sentences.append(f"Of what comes into {each.level}, {part} is {each.largest}.")
    return sentences


def _name(level: str) -> str:
    return "the registers" if level == "registers" else level


def _intensity(case: Case, moved: float) -> str:
    return f"{significant(case.flops / moved)} FLOP/byte" if moved else "nothing"


def loop_sentences(case: Case, loop: MainLoop, blocking: Blocking | None) -> list[str]:
    """What the innermost loop is made of, and what limits it."""
    mix = loop.mix
    width = f"{mix.vector_bits} bits" if mix.vector_bits > 64 else "a single value"
    loads = significant(mix.loads / mix.multiply_adds, 2)
    sentences = [
        f"A turn of the innermost loop ({mix.function}) has "
        f"{counted(mix.multiply_adds, 'multiply-add')} of {width}, {counted(mix.loads, 'load')}, "
        f"{counted(mix.stores, 'store')} and {mix.others} other instructions: "
        f"{significant(mix.per_multiply_add)} instructions and {loads} loads for each multiply-add."
    ]
    if blocking is not None and case.m < blocking.tile_rows:
        return [
            *sentences,
            f"That is the loop of {blocking.tile_rows} rows; for {case.m} a smaller one runs, with "
            "more loads for each multiply-add.",
        ]
    if mix.stack_references:
        sentences.append(
            f"{mix.stack_references} of its loads and stores move vectors from or to the stack: "
            "the sums do not stay in registers."
        )
    return [*sentences, _pace_sentence(loop, loop_pace(loop))]


def _pace_sentence(loop: MainLoop, pace: LoopPace) -> str:
    share = percent(pace.of_peak) if pace.of_peak >= 0.1 else percent(pace.of_peak, 1)
    at_best = f"the loop reaches at best {share} of the core's rate of such multiply-adds"
    if pace.limit == "latency":
        sums = "a single sum" if loop.sums_in_registers == 1 else f"{loop.sums_in_registers} sums"
        return (
            f"It adds to {sums}, and an addition waits {ADD_LATENCY} to {FUSED_LATENCY} cycles for "
            f"the one before, where {FUSED_LATENCY * MULTIPLY_ADDS} independent ones keep a core "
            f"busy: {at_best}."
        )
    if pace.limit == "stores":
        return (
            "A core stores one vector a cycle, in which it could do two multiply-adds: "
            f"with {counted(loop.mix.stores, 'store')} in a turn {at_best}."
        )
    if pace.limit == "loads":
        return (
            f"A core loads as many vectors as it does multiply-adds, two a cycle: with more loads "
            f"than multiply-adds {at_best}."
        )
    if pace.limit == "instructions":
        return f"A core begins some six instructions a cycle: {at_best}."
    if pace.of_peak < 1:
        return f"Products and sums are instructions of their own: {at_best}."
    spare = pace.cycles["multiply-adds"] / max(pace.cycles["loads"], 1e-9)
    return "The multiply-adds themselves set its pace, two a cycle on the usual core" + (
        f", which could load {significant(spare, 2)} times as much." if spare > 1 else "."
    )


_SOURCES = {"L1": "the first cache", "L2": "L2", "L3": "L3", "DRAM": "memory"}


def limit_sentences(case: Case, limits: Sequence[TimeLimit], measured_s: float | None) -> list[str]:
    """What the machine's measured ceilings allow, and how near the product came."""
    if not limits:
        return []
    first = limits[0]
    others = ", ".join(f"{_what(limit)} {seconds(limit.time_s)}" for limit in limits[1:])
    sentences = [
        f"At the ceilings measured here {_what(first)} takes the longest, {seconds(first.time_s)} "
        f"({flops_per_s(case.flops / first.time_s)})" + (f"; {others}." if others else ".")
    ]
    if measured_s:
        reached = f"Measured were {seconds(measured_s)}"
        share = first.time_s / measured_s
        sentences.append(
            f"{reached}: {percent(share)} of what that limit allows."
            if not is_above(share)
            else f"{reached}, less than that: this core, or these caches at that moment, are "
            "faster than the limit takes them to be."
        )
    return sentences


def _what(limit: TimeLimit) -> str:
    if limit.name == "arithmetic":
        return "the arithmetic"
    if limit.name == "loop":
        return "the innermost loop"
    return f"reading from {_SOURCES[limit.name]}"


def simulation_sentences(
    case: Case, simulation: Simulation, modelled: Sequence[ModelledTraffic]
) -> list[str]:
    """What cachegrind counted, at which shape, and what the model says of the same."""
    small = simulation.case
    expected = {each.level: each.bytes for each in modelled}
    parts = []
    found = simulation.traffic
    for each in found:
        text = f"{_size(each.bytes)} into {each.level}"
        if each.level in expected:
            text += f" (by its blocks {_size(expected[each.level])})"
        parts.append(text)
    reduced = (small.m, small.n, small.k) != (case.m, case.n, case.k)
    why = f", {case} being too much to simulate" if reduced else ""
    sentences = [
        f"Cachegrind, on one thread of a build without AVX-512 at {small}{why}: {', '.join(parts)}."
    ]
    if any(each.bytes >= _CONFLICTS * expected.get(each.level, each.bytes) for each in found):
        sentences.append(
            "That is more than the blocks explain, as where rows that lie a power of two apart "
            "crowd into a few sets of a cache; a machine spreads them by its pages of memory."
        )
    return sentences


def event_sentences(events: dict[str, float]) -> list[str]:
    """What the hardware counted."""
    sentences = []
    cycles, instructions = events.get("cycles"), events.get("instructions")
    if cycles and instructions:
        sentences.append(
            f"Counted in hardware: {si(cycles, 'cycles')} and {si(instructions, 'instructions')}, "
            f"{significant(instructions / cycles)} a cycle."
        )
    for level, total, missed in (
        ("L1", "l1d_loads", "l1d_load_misses"),
        ("the last cache", "llc_loads", "llc_load_misses"),
    ):
        loads, misses = events.get(total), events.get(missed)
        if loads and misses is not None:
            share = percent(min(1.0, misses / loads), 1)
            sentences.append(f"Of the loads that came to {level}, {share} missed it.")
    return sentences
