"""Hardware events counted around just the region that matters, by Linux's perf_event_open."""

import ctypes
import errno
import fcntl
import os
import platform
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_HARDWARE, _CACHE = 0, 3  # perf_type_id
_ATTRIBUTE = struct.Struct("<IIQQQQQIIQQQQ")
_ATTRIBUTE_BYTES = 112  # PERF_ATTR_SIZE_VER5; what is not packed here stays zero
# Counted with each value: how long the event was wanted, and how long a counter was free for it.
_READ_TIMES = 1 | 2
_DISABLED, _INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 0, 1 << 1, 1 << 5, 1 << 6
_READING = struct.Struct("<QQQ")
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


class Event(NamedTuple):
    """A generic event of the kernel, which maps it to what the CPU calls it."""

    name: str
    type: int
    config: int


CYCLES = Event("cycles", _HARDWARE, 0)
# Events of one group are counted at the same times, so that their ratios hold even when there are
# fewer counters than events; four general counters is what every CPU of the last decade has.
GROUPS: tuple[tuple[Event, ...], ...] = (
    (
        CYCLES,
        Event("instructions", _HARDWARE, 1),
        Event("branches", _HARDWARE, 4),
        Event("branch_misses", _HARDWARE, 5),
    ),
    (Event("cache_references", _HARDWARE, 2), Event("cache_misses", _HARDWARE, 3)),
    (
        Event("stalled_cycles_frontend", _HARDWARE, 7),
        Event("stalled_cycles_backend", _HARDWARE, 8),
    ),
    # Of a cache: its number, then 1 << 8 for stores and 1 << 16 for misses.
    *(
        (
            Event(f"{cache}_{operation}s", _CACHE, config),
            Event(f"{cache}_{operation}_misses", _CACHE, config | 1 << 16),
        )
        for cache, operation, config in (
            ("l1d", "load", 0),
            ("l1d", "store", 0 | 1 << 8),
            ("llc", "load", 2),
            ("llc", "store", 2 | 1 << 8),
            ("node", "load", 6),
        )
    ),
)


class NoCounters(Exception):  # noqa: N818 - an answer, not a fault
    """Hardware events cannot be counted on this system; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class PerfSystem:
    """What counting needs of Linux; a descriptor is a number that `open` answered.

    Raises NoCounters on any other system.
    """

    def __init__(self) -> None:
        number = _SYSCALL.get(platform.machine())
        if sys.platform != "linux" or number is None:
            raise NoCounters(
                f"hardware events are read through Linux's perf_event_open, which "
                f"{platform.system()} on {platform.machine()} does not have"
            )
        self._number = ctypes.c_long(number)
        self._library = ctypes.CDLL(None, use_errno=True)

    def threads(self) -> list[int]:
        """The threads of this process."""
        return sorted(int(task.name) for task in _TASKS.iterdir())

    def open(self, attribute: bytes, thread: int, leader: int) -> int:
        """Begin to count, switched off, in the group of `leader` (−1: a new one).

        Raises OSError.
        """
        any_cpu = -1
        buffer = ctypes.create_string_buffer(attribute, len(attribute))
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
        """Switch a group on."""
        fcntl.ioctl(leader, _ENABLE, _WHOLE_GROUP)

    def disable(self, leader: int) -> None:
        """Switch a group off."""
        fcntl.ioctl(leader, _DISABLE, _WHOLE_GROUP)

    def read(self, descriptor: int) -> bytes:
        """Value, nanoseconds enabled, nanoseconds running: three 64-bit numbers."""
        return os.read(descriptor, _READING.size)

    def close(self, descriptor: int) -> None:
        """End counting."""
        os.close(descriptor)

    def explain(self, error: OSError) -> str:
        """Why an event was refused, and what would help."""
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


class EventCounts(NamedTuple):
    """Events of all threads, in user code alone; what could not be counted has its reason."""

    events: dict[str, float]
    reasons: dict[str, str]


def count_events(
    action: Callable[[], object],
    *,
    groups: Sequence[Sequence[Event]] = GROUPS,
    system: PerfSystem | None = None,
) -> EventCounts:
    """Run `action` once and count the hardware events of all threads of this process meanwhile.

    Threads that exist already, such as OpenMP's, are counted, and those that `action` starts as
    well. Where the machine offers no events the action is run all the same, and the reason stands
    under "events". Raises what `action` raises.
    """
    counts = EventCounts({}, {})
    try:
        system = PerfSystem() if system is None else system
    except NoCounters as refusal:
        counts.reasons["events"] = refusal.reason
        action()
        return counts
    handles = _open_all(system, groups, counts.reasons)
    leaders = {handle.leader for handle in handles}
    try:
        for leader in leaders:
            system.enable(leader)
        try:
            action()
        finally:
            for leader in leaders:
                system.disable(leader)
        _read_all(system, handles, counts)
    finally:
        for handle in handles:
            system.close(handle.descriptor)
    return counts


class _Handle(NamedTuple):
    event: str
    descriptor: int
    leader: int  # of its group on the same thread


def _open_all(
    system: PerfSystem, groups: Sequence[Sequence[Event]], reasons: dict[str, str]
) -> list[_Handle]:
    """Every event on every thread; an event that one thread refuses is counted on none."""
    threads = system.threads()
    handles: list[_Handle] = []
    for group in groups:
        refused: set[str] = set()
        opened: list[_Handle] = []
        for thread in threads:
            leader = -1
            for event in group:
                if event.name in refused:
                    continue
                try:
                    descriptor = system.open(attribute_of(event), thread, leader)
                except ProcessLookupError:  # the thread has ended
                    break
                except OSError as error:
                    refused.add(event.name)
                    reasons[event.name] = system.explain(error)
                    continue
                leader = descriptor if leader < 0 else leader
                opened.append(_Handle(event.name, descriptor, leader))
        for handle in opened:
            if handle.event in refused:
                system.close(handle.descriptor)
            else:
                handles.append(handle)
    if not handles and len(set(reasons.values())) == 1:
        # Nothing can be counted, for one reason: said once.
        reason = next(iter(reasons.values()))
        reasons.clear()
        reasons["events"] = reason
    return handles


def attribute_of(event: Event) -> bytes:
    """A struct perf_event_attr: off at first, of threads started later too, user code alone."""
    flags = _DISABLED | _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    packed = _ATTRIBUTE.pack(
        event.type, _ATTRIBUTE_BYTES, event.config, 0, 0, _READ_TIMES, flags, 0, 0, 0, 0, 0, 0
    )
    return packed.ljust(_ATTRIBUTE_BYTES, b"\0")


def _read_all(system: PerfSystem, handles: Sequence[_Handle], counts: EventCounts) -> None:
    for handle in handles:
        try:
            scaled = scaled_count(system.read(handle.descriptor))
        except OSError as error:
            counts.reasons[handle.event] = f"its counter could not be read ({error.strerror})"
            continue
        if scaled is None:
            counts.reasons.setdefault(handle.event, "no counter was free for it on some thread")
        else:
            counts.events[handle.event] = counts.events.get(handle.event, 0.0) + scaled
    for name in counts.reasons:
        counts.events.pop(name, None)


def scaled_count(reading: bytes) -> float | None:
    """What an event would have counted had it had a counter all the time.

    `reading`: value, time enabled, time running (perf_event_open(2)). Zero for a thread that did
    not run; None for one that ran without a counter, or for a short reading.
    """
    if len(reading) < _READING.size:
        return None
    value, enabled, running = _READING.unpack_from(reading)
    if enabled == 0:
        return 0.0
    return value * (enabled / running) if running else None
