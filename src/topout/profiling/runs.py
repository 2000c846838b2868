"""The runs behind a profile: timed ones without the profiler, captured ones, and a counted one.

Wall time = user + system + waiting, for each thread of this process. A thread's processor time is
read from its own clock, in nanoseconds; how it divides into user and system time from its ticks in
/proc/self/task, of which there are about a hundred a second.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from torch import nn

from topout.cost.graph import counting
from topout.profiling.phases import Timed, phase_of, wall_times
from topout.progress import Notify
from topout.records import Count, ElapsedTime, ThreadTime
from topout.trace.capture import PhaseMark, Phases, capture

Run = Callable[[Phases], object]
"""Does the work once, and says which phase begins."""
TASKS = Path("/proc/self/task")
_STATM = Path("/proc/self/statm")
_USER_FIELD, _SYSTEM_FIELD = 11, 12  # of /proc/PID/task/TID/stat, counted after the name
_OF_THREAD, _SCHEDULED = 4, 2  # bits of a clock's number: clock_getcpuclockid(3)


class ThreadReading(msgspec.Struct, frozen=True):
    """A thread's processor time so far."""

    name: str
    cpu_s: float
    user_ticks: int
    system_ticks: int


class Reading(msgspec.Struct, frozen=True):
    """All threads of the process at one moment, by their system's numbers."""

    at_s: float  # of time.perf_counter
    threads: dict[int, ThreadReading]


def read_threads(tasks: Path = TASKS) -> Reading:
    """The threads now; none where the system has no such folder."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: dict[int, ThreadReading] = {}
    at_s = time.perf_counter()
    for folder in sorted(tasks.glob("[0-9]*")):
        try:
            number, stat = int(folder.name), (folder / "stat").read_text()
            reading = parse_stat(stat, _thread_clock_s(number), names.get(number))
        except (OSError, ValueError):
            continue  # it has just ended
        if reading is not None:
            found[number] = reading
    return Reading(at_s, found)


def parse_stat(stat: str, cpu_s: float, name: str | None = None) -> ThreadReading | None:
    """One line of /proc/PID/task/TID/stat; None where it is malformed."""
    before, closed, after = stat.rpartition(")")
    fields = after.split()
    if not closed or len(fields) <= _SYSTEM_FIELD:
        return None
    user, system = fields[_USER_FIELD], fields[_SYSTEM_FIELD]
    if not (user.isdecimal() and system.isdecimal()):
        return None
    own_name = before.partition("(")[2]
    return ThreadReading(name or own_name, cpu_s, int(user), int(system))


def elapsed_between(before: Reading, after: Reading, threads: int) -> ElapsedTime | None:
    """What each thread did between two readings, on so many threads asked for.

    Threads that did not run are left out. None where nothing could be read or no time passed.
    """
    wall_s = after.at_s - before.at_s
    if wall_s <= 0 or not after.threads:
        return None
    rows = [
        row
        for number, reading in after.threads.items()
        if (row := _thread(number, before.threads, reading, wall_s)).user_s + row.system_s > 0
    ]
    rows.sort(key=lambda row: row.waiting_s)
    user_s, system_s = sum(row.user_s for row in rows), sum(row.system_s for row in rows)
    return ElapsedTime(
        wall_s=wall_s,
        user_s=user_s,
        system_s=system_s,
        processor_share=(user_s + system_s) / (wall_s * threads),
        threads=rows,
    )


def _thread(
    number: int, before: Mapping[int, ThreadReading], after: ThreadReading, wall_s: float
) -> ThreadTime:
    began = before.get(number, ThreadReading(after.name, 0.0, 0, 0))
    # Both clocks are read one after the other: a busy thread may seem to outrun the wall.
    busy_s = min(max(0.0, after.cpu_s - began.cpu_s), wall_s)
    user, system = after.user_ticks - began.user_ticks, after.system_ticks - began.system_ticks
    system_s = busy_s * system / (user + system) if user + system > 0 else 0.0
    return ThreadTime(
        name=after.name,
        thread=number,
        user_s=busy_s - system_s,
        system_s=system_s,
        waiting_s=wall_s - busy_s,
    )


def _thread_clock_s(number: int) -> float:
    return time.clock_gettime((~number << 3) | _OF_THREAD | _SCHEDULED)


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


def run_in_turns(
    plain: Callable[[], PlainRun],
    captured: Callable[[], CapturedRun],
    repeats: int,
    notify: Notify,
) -> tuple[CapturedRun, Timed]:
    """So many pairs of runs, A B, B A, …; returns the last captured run and all times."""
    pairs: list[tuple[PlainRun, CapturedRun]] = []
    for number in range(repeats):
        notify(f"pair {number + 1} of {repeats}", number / repeats)
        if number % 2 == 0:
            without = plain()
            under = captured()
        else:
            under = captured()
            without = plain()
        pairs.append((without, under))
    return pairs[-1][1], _timed(pairs)


def _timed(pairs: list[tuple[PlainRun, CapturedRun]]) -> Timed:
    """Times by phase; the processor's from the plain run of median length."""
    names = list(pairs[0][0].wall_s)
    elapsed: dict[str, ElapsedTime] = {}
    for name in names:
        ordered = sorted((plain for plain, _ in pairs), key=lambda run: run.wall_s.get(name, 0.0))
        found = ordered[(len(ordered) - 1) // 2].elapsed.get(name)
        if found is not None:
            elapsed[name] = found
    return Timed(
        plain_s={name: [plain.wall_s[name] for plain, _ in pairs] for name in names},
        profiled_s={name: [under.wall_s[name] for _, under in pairs] for name in names},
        elapsed=elapsed,
    )


def resident_bytes(statm: Path = _STATM) -> int | None:
    """Resident memory of this process now; None where the system does not tell."""
    import resource

    try:
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
