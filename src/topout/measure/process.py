"""A process: its processor time and peak memory, and what ends with it or with its `with` block."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import msgspec

PROC_STAT = Path("/proc/stat")
# Columns of the "cpu" line, in ticks: user nice system idle iowait irq softirq steal ...
_IDLE_COLUMNS = (3, 4)
_STEAL_COLUMN = 7
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_PR_SET_PDEATHSIG = 1


class ProcessorTime(msgspec.Struct, frozen=True):
    """Ticks since boot over all CPUs."""

    total: int
    idle: int
    steal: int


def parse_proc_stat(text: str) -> ProcessorTime | None:
    """The "cpu" line of /proc/stat; None where it is missing or malformed."""
    for line in text.splitlines():
        name, *columns = line.split() or [""]
        if name != "cpu":
            continue
        if not all(column.isdecimal() for column in columns) or len(columns) <= _STEAL_COLUMN:
            return None
        ticks = [int(column) for column in columns]
        # guest and guest_nice (columns 8, 9) are already contained in user and nice.
        return ProcessorTime(
            total=sum(ticks[: _STEAL_COLUMN + 1]),
            idle=sum(ticks[column] for column in _IDLE_COLUMNS),
            steal=ticks[_STEAL_COLUMN],
        )
    return None


def processor_time(path: Path = PROC_STAT) -> ProcessorTime | None:
    """The counters now; None where the system has no /proc/stat."""
    try:
        return parse_proc_stat(path.read_text())
    except OSError:
        return None


def suspended_s() -> float:
    """Seconds that the machine has slept since it was started; 0 where that is not told.

    Source: clock_gettime(2): of Linux's two clocks, CLOCK_MONOTONIC stands still meanwhile.
    """
    if sys.platform != "linux":
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def stolen_share(before: ProcessorTime | None, after: ProcessorTime | None) -> float | None:
    """Share of CPU time between two readings that the hypervisor gave to others, 0 to 1."""
    if before is None or after is None or after.total <= before.total:
        return None
    return max(0.0, (after.steal - before.steal) / (after.total - before.total))


def busy_share(before: ProcessorTime | None, after: ProcessorTime | None) -> float | None:
    """Share of CPU time between two readings that any program used, 0 to 1."""
    if before is None or after is None or after.total <= before.total:
        return None
    idle = after.idle - before.idle
    return min(1.0, max(0.0, 1 - idle / (after.total - before.total)))


def others_share(
    before: ProcessorTime | None, after: ProcessorTime | None, own_s: float
) -> float | None:
    """Share of CPU time between two readings that other programs used, 0 to 1.

    `own_s`: processor time of one's own between them, in seconds.
    """
    if before is None or after is None or after.total <= before.total:
        return None
    total, idle = after.total - before.total, after.idle - before.idle
    used = total - idle - (after.steal - before.steal)
    return min(1.0, max(0.0, (used - own_s * _TICKS_PER_S) / total))


def field_bytes(text: str, name: str) -> int | None:
    """A field of /proc/meminfo, /proc/PID/status or the like in bytes; None where it is missing.

    The kernel writes kB and means KiB.
    """
    for line in text.splitlines():
        field, _, value = line.partition(":")
        number = value.strip().partition(" ")[0]
        if field == name and number.isascii() and number.isdigit():
            return int(number) * 1024
    return None


def begin_peak() -> bool:
    """Forget the peak so far; False where the system cannot, and the peak is of the whole life."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def rss_bytes() -> int | None:
    """Resident set size in bytes now; None where the system does not tell."""
    try:
        return field_bytes(_STATUS.read_text(), "VmRSS")
    except OSError:
        return None


def peak_rss_bytes() -> int:
    """Peak resident set size in bytes since `begin_peak`, or since the start of the process."""
    try:
        peak = field_bytes(_STATUS.read_text(), "VmHWM")
    except OSError:
        peak = None
    if peak is not None:
        return peak
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


class Closing(ABC):
    """What holds something until `close`, which the end of a `with` block calls."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held; safe to call again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def end_with_parent(with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to send `with_signal` to this process when its parent ends; elsewhere nothing."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)


def how_ended(exit_status: int) -> str:
    """An exit status in words: "crashed with SIGSEGV", "ended with exit status 1"."""
    if exit_status == -signal.SIGKILL:
        return "was killed (SIGKILL), which is how the system ends a process for memory"
    if exit_status < 0:
        return f"crashed with {signal_name(-exit_status)}"
    return f"ended with exit status {exit_status}"


def signal_name(number: int) -> str:
    """ "SIGSEGV", or "signal 99" for a number without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
