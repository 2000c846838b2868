"""The kernel's seam for hardware events: opening, switching and reading counters."""

import ctypes
import errno
import fcntl
import os
import platform
import sys
from pathlib import Path
from typing import Protocol

_SYSCALL = {"x86_64": 298, "aarch64": 241}  # perf_event_open
_CLOSE_ON_EXEC = 8
_ENABLE, _DISABLE = 0x2400, 0x2401  # PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE
_WHOLE_GROUP = 1
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
_TASKS = Path("/proc/self/task")
NO_UNIT = (
    "the CPU shows no such hardware event, as is usual in virtual machines; run on bare metal, or "
    "on a virtual machine whose host passes the performance counters through"
)


class NoCounters(Exception):  # noqa: N818 - an answer, not a fault
    """Hardware events cannot be counted on this system; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class PerfSystem(Protocol):
    """What counting needs of a kernel; a descriptor is a number that `open` answered."""

    def threads(self) -> list[int]:
        """The threads of this process."""
        ...

    def open(self, attribute: bytes, thread: int, leader: int) -> int:
        """Begin to count, switched off, in the group of `leader` (−1: a new one).

        Raises OSError.
        """
        ...

    def enable(self, leader: int) -> None:
        """Switch a group on."""
        ...

    def disable(self, leader: int) -> None:
        """Switch a group off."""
        ...

    def read(self, descriptor: int) -> bytes:
        """Value, nanoseconds enabled, nanoseconds running: three 64-bit numbers."""
        ...

    def close(self, descriptor: int) -> None:
        """End counting."""
        ...

    def explain(self, error: OSError) -> str:
        """Why an event was refused, and what would help."""
        ...


def linux_perf() -> PerfSystem:
    """This machine's Linux; raises NoCounters on any other system."""
    number = _SYSCALL.get(platform.machine())
    if sys.platform != "linux" or number is None:
        raise NoCounters(
            f"hardware events are read through Linux's perf_event_open, which "
            f"{platform.system()} on {platform.machine()} does not have"
        )
    return _LinuxPerf(number)


class _LinuxPerf:
    def __init__(self, syscall_number: int) -> None:
        self._number = ctypes.c_long(syscall_number)
        self._library = ctypes.CDLL(None, use_errno=True)

    def threads(self) -> list[int]:
        return sorted(int(task.name) for task in _TASKS.iterdir())

    def open(self, attribute: bytes, thread: int, leader: int) -> int:
        buffer = ctypes.create_string_buffer(attribute, len(attribute))
        any_cpu = -1
        descriptor = int(
            self._library.syscall(
                self._number, buffer, thread, any_cpu, leader, ctypes.c_ulong(_CLOSE_ON_EXEC)
            )
        )
        if descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return descriptor

    def enable(self, leader: int) -> None:
        fcntl.ioctl(leader, _ENABLE, _WHOLE_GROUP)

    def disable(self, leader: int) -> None:
        fcntl.ioctl(leader, _DISABLE, _WHOLE_GROUP)

    def read(self, descriptor: int) -> bytes:
        return os.read(descriptor, 24)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def explain(self, error: OSError) -> str:
        return explain_refusal(error.errno, _paranoia())


def _paranoia() -> int | None:
    try:
        return int(_PARANOID.read_text())
    except (OSError, ValueError):
        return None


def explain_refusal(code: int | None, paranoia: int | None) -> str:
    """Why perf_event_open failed with `code`, and what helps.

    `paranoia`: kernel.perf_event_paranoid; up to 2 one's own programs can be counted.
    """
    if code in (errno.EACCES, errno.EPERM):
        if paranoia is not None and paranoia > 2:
            return (
                f"not permitted: kernel.perf_event_paranoid is {paranoia}; "
                "`sudo sysctl kernel.perf_event_paranoid=2` allows counting one's own programs"
            )
        return (
            "not permitted: a container needs perf_event_open in its seccomp profile, or "
            "`--cap-add PERFMON`"
        )
    if code in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL):
        return NO_UNIT
    if code in (errno.EMFILE, errno.ENFILE):
        return "too many open files for the counters of all threads; raise `ulimit -n`"
    return f"perf_event_open failed: {os.strerror(code) if code else 'for no stated reason'}"
