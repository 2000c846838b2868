"""Ceilings of the CPU by the native micro-benchmarks: arithmetic, read bandwidth, overheads.

`BandwidthProbe` measures one again in between timed runs, in a few hundredths of a second.
"""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from topout.kernels import ops
from topout.kernels.ops import GRAIN_BYTES, PeakDtype, ReadBuffers, ReadPattern, ThreadTeam
from topout.machine.describe import pinning_order
from topout.machine.effort import (
    PARTS,
    CeilingParts,
    Effort,
    Meter,
    Part,
    WorkingSet,
    working_sets,
)
from topout.measure.process import Closing, field_bytes
from topout.records import BandwidthCeiling, ComputeCeiling, Doubt, Machine, OverheadCeiling

_DTYPES: tuple[PeakDtype, ...] = ("fp32", "bf16", "int8")
_MISSING: dict[PeakDtype, str] = {
    "fp32": "",
    "bf16": "no bf16 dot product (AVX512-BF16, Arm BF16): such work runs as fp32 at best",
    "int8": "no int8 dot product (AVX2, VNNI, Arm DOTPROD)",
}
_NOT_PINNED = Doubt(
    about="pinning",
    sentence="The system did not let threads be pinned, and they may have shared a core.",
    remedy="Allow sched_setaffinity, or measure on Linux.",
)
# How memory is walked; which is fastest differs by CPU and by level.
READ_PATTERNS = tuple(
    ReadPattern(*pattern)
    for pattern in ((1, 0), (2, 0), (4, 0), (8, 0), (1, 2048), (2, 1024), (4, 512), (4, 2048))
)

_SCREEN_S = 0.004


def measure_native(
    machine: Machine,
    threads: int,
    cpus: Sequence[int],
    effort: Effort,
    curve: bool,
    meter: Meter,
    parts: Collection[Part] = PARTS,
) -> CeilingParts:
    """These parts for one thread count; `curve` asks for working sets between the levels too.

    Raises CompilerError, and UnsupportedError when threads or memory are refused.
    """
    reasons: dict[str, str] = {}
    doubts: list[Doubt] = []
    with ThreadTeam(threads, cpus[:threads]) as team:
        team.compute("fp32", effort.warmup_s)
        compute: list[ComputeCeiling] = []
        clocks: list[float] = []
        if "compute" in parts:
            compute, clocks = _measure_compute(team, effort, reasons, meter)
        bandwidth: list[BandwidthCeiling] = []
        if "bandwidth" in parts:
            bandwidth = _measure_bandwidth(machine, team, effort, curve, reasons, meter)
        overheads: list[OverheadCeiling] = []
        if "overheads" in parts:
            meter.step(f"overheads, {threads} threads")
            overheads = _measure_overheads(team, effort)
        if team.pinned_threads < threads:
            doubts.append(_NOT_PINNED)
    return CeilingParts(compute, bandwidth, overheads, clocks, doubts, reasons)


def steps_of(threads: Sequence[int], effort: Effort) -> int:
    """How many steps `measure_native` tells its meter of, for all thread counts together."""
    return len(threads) * (effort.compute_rounds + 2 * effort.read_rounds + 1)


def _measure_compute(
    team: ThreadTeam, effort: Effort, reasons: dict[str, str], meter: Meter
) -> tuple[list[ComputeCeiling], list[float]]:
    """The data types in turn, round by round, so that a disturbance hits them alike."""
    instructions = {dtype: ops.peak_instruction(dtype) for dtype in _DTYPES}
    samples: dict[PeakDtype, list[float]] = {}
    clocks: list[float] = []
    for _ in range(effort.compute_rounds):
        meter.step(f"arithmetic, {team.threads} threads")
        for dtype, instruction in instructions.items():
            if instruction is None:
                reasons[f"compute.{dtype}"] = _MISSING[dtype]
                continue
            trial = team.compute(dtype, effort.compute_s)
            samples.setdefault(dtype, []).append(trial.ops_per_s)
            clocks.append(trial.clock_hz)
    ceilings = [
        ComputeCeiling(
            dtype=dtype,
            threads=team.threads,
            instruction=instructions[dtype] or "",
            flops_per_s=max(found),
            samples=found,
        )
        for dtype, found in samples.items()
    ]
    return ceilings, clocks


def _measure_bandwidth(
    machine: Machine,
    team: ThreadTeam,
    effort: Effort,
    curve: bool,
    reasons: dict[str, str],
    meter: Meter,
) -> list[BandwidthCeiling]:
    """The curve with huge pages; with small ones the largest set and one in the last cache."""
    sets = working_sets(
        machine.caches,
        machine.memory_bytes,
        team.threads,
        effort.curve_points if curve else 0,
    )
    in_caches = [each for each in sets if each.level != "DRAM"]
    return [
        *_read_all(machine, team, sets, True, effort, reasons, meter),
        *_read_all(machine, team, [*in_caches[-1:], sets[-1]], False, effort, reasons, meter),
    ]


def _read_all(
    machine: Machine,
    team: ThreadTeam,
    sets: Sequence[WorkingSet],
    huge_pages: bool,
    effort: Effort,
    reasons: dict[str, str],
    meter: Meter,
) -> list[BandwidthCeiling]:
    """The read bandwidth over each set, round by round: all are parts of the same buffers."""
    samples: list[list[float]] = [[] for _ in sets]
    before = _huge_page_bytes()
    most = max(each.total_bytes for each in sets)
    with ReadBuffers(team, most // team.threads, huge_pages) as buffers:
        page = _page_name(machine, huge_pages, _huge_page_bytes() - before, most, reasons)
        patterns: list[ReadPattern] = []
        for _ in range(effort.read_rounds):
            meter.step(f"memory ({page} pages), {team.threads} threads")
            for i, each in enumerate(sets):
                share = each.total_bytes // team.threads
                if i == len(patterns):
                    patterns.append(best_pattern(buffers, share, effort.screen_s))
                samples[i].append(buffers.read(share, patterns[i], effort.read_s))
    return [
        BandwidthCeiling(
            level=each.level,
            threads=team.threads,
            page=page,
            working_set_bytes=each.total_bytes,
            bytes_per_s=max(found),
            samples=found,
        )
        for each, found in zip(sets, samples, strict=True)
    ]


def best_pattern(buffers: ReadBuffers, bytes_per_thread: int, seconds: float) -> ReadPattern:
    """The fastest way to walk through so much memory, each tried for `seconds`, twice."""
    speed = {
        pattern: max(buffers.read(bytes_per_thread, pattern, seconds) for _ in range(2))
        for pattern in READ_PATTERNS
    }
    return max(speed, key=lambda pattern: speed[pattern])


def _measure_overheads(team: ThreadTeam, effort: Effort) -> list[OverheadCeiling]:
    samples = {
        "thread_barrier": [team.barrier_time() for _ in range(effort.overhead_rounds)],
        "thread_fork_join": [team.fork_join_time() for _ in range(effort.overhead_rounds)],
    }
    if team.threads == 1:
        del samples["thread_barrier"]
        samples["kernel_call"] = [ops.kernel_call_time() for _ in range(effort.overhead_rounds)]
    return [
        OverheadCeiling(name=name, threads=team.threads, time_s=min(found), samples=found)
        for name, found in samples.items()
    ]


def _huge_page_bytes() -> int:
    """How much of this process's memory is in huge pages; 0 where the kernel does not tell."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return 0
    return field_bytes(text, "AnonHugePages") or 0


def _page_name(
    machine: Machine, asked: bool, got_bytes: int, wanted_bytes: int, reasons: dict[str, str]
) -> str:
    """ "huge" only if the kernel really gave huge pages for most of the memory."""
    if asked and got_bytes >= wanted_bytes // 2:
        return "huge"
    if asked:
        reasons["bandwidth.huge"] = (
            f"the kernel gave {got_bytes} of {wanted_bytes} bytes in huge pages"
        )
    return f"{machine.page_bytes // 1024} KiB"


class BandwidthProbe(Closing):
    """Threads and memory kept ready, so that each look at the ceilings is cheap.

    Holds `working_set_bytes` of memory until it is closed; use it in a `with` block. Raises
    CompilerError without a compiler, UnsupportedError without the memory.
    """

    def __init__(self, threads: int, working_set_bytes: int, huge_pages: bool = True) -> None:
        self._share_bytes = max(GRAIN_BYTES, working_set_bytes // threads)
        with contextlib.ExitStack() as stack:
            self._team = stack.enter_context(ThreadTeam(threads, pinning_order()[:threads]))
            self._buffers = stack.enter_context(
                ReadBuffers(self._team, self._share_bytes, huge_pages)
            )
            self._pattern = best_pattern(self._buffers, self._share_bytes, _SCREEN_S)
            self._held = stack.pop_all()

    def read_bandwidth(self, seconds: float = 0.05) -> float:
        """Bytes per second that all threads together read from the working set now."""
        return self._buffers.read(self._share_bytes, self._pattern, seconds)

    def fma_rate(self, dtype: PeakDtype = "fp32", seconds: float = 0.05) -> float:
        """Operations per second of all threads together now.

        Raises UnsupportedError where the CPU has no instruction for `dtype`.
        """
        return self._team.compute(dtype, seconds).ops_per_s

    def close(self) -> None:
        """Give memory and threads back."""
        self._held.close()
