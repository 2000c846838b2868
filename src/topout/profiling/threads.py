"""Wall time = user + system + waiting, for each thread of this process.

A thread's processor time is read from its own clock, in nanoseconds; how it divides into user and
system time from its ticks in /proc/self/task, of which there are about a hundred a second.
"""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from topout.records import ElapsedTime, ThreadTime

TASKS = Path("/proc/self/task")
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
