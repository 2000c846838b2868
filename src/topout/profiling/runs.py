"""The runs behind a profile: timed ones without the profiler, captured ones, and a counted one."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from torch import nn

from topout.cost.graph import counting
from topout.profiling.phases import phase_of, wall_times
from topout.profiling.threads import Reading, elapsed_between, read_threads
from topout.records import Count, ElapsedTime
from topout.trace.capture import PhaseMark, Phases, capture

Run = Callable[[Phases], object]
"""Does the work once, and says which phase begins."""
_STATM = Path("/proc/self/statm")


class PlainRun(msgspec.Struct, frozen=True):
    """A run without the profiler: seconds and processor time of each phase."""

    wall_s: dict[str, float]
    elapsed: dict[str, ElapsedTime]


class CapturedRun(msgspec.Struct, frozen=True):
    """A run under the profiler, and the classes of its modules by name."""

    marks: list[PhaseMark]
    types: dict[str, str]

    @property
    def wall_s(self) -> dict[str, float]:
        """Seconds of each phase."""
        return wall_times(self.marks)


def run_plain(run: Run, threads: int) -> PlainRun:
    """Run on so many threads, timed; threads' clocks are read where a phase changes."""
    readings: list[tuple[str, Reading]] = []

    def note(name: str) -> None:
        if not readings or phase_of(name) != phase_of(readings[-1][0]):
            readings.append((name, read_threads()))

    phases = Phases(on_change=note)
    run(phases)
    phases.end()
    pairs = itertools.pairwise(readings)
    elapsed = {
        phase_of(name): found
        for (name, before), (_, after) in pairs
        if (found := elapsed_between(before, after, threads)) is not None
    }
    return PlainRun(wall_times(phases.marks), elapsed)


def run_captured(
    run: Run,
    path: Path,
    roots: Mapping[str, nn.Module],
    on_forward: Callable[[nn.Module], None] = lambda module: None,
) -> CapturedRun:
    """Run under the profiler; the trace is written to `path`. Raises as `capture` does."""
    phases = Phases(recorded=True, memory=resident_bytes)
    with capture(path, roots, on_forward) as regions:
        run(phases)
        phases.end()
    return CapturedRun(phases.marks, regions.types)


def run_counted(run: Run, target: Callable[..., object] | None) -> Count:
    """Run once with every operator's FLOPs and bytes counted."""
    with counting(target) as counter:
        run(Phases())
    return counter.count()


def resident_bytes(statm: Path = _STATM) -> int | None:
    """Resident memory of this process now; None where the system does not tell."""
    import resource

    try:
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
