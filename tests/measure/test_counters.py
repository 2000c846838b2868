"""Counting hardware events, on a kernel that is played, and on the one that is here."""

import errno
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.measure import counters
from topout.measure.counters import (
    GROUPS,
    NO_UNIT,
    Event,
    NoCounters,
    PerfSystem,
    count_events,
    explain_refusal,
    scaled_count,
)

ONE = ((Event("cycles", 0, 0), Event("instructions", 0, 1)),)
_INHERIT, _EXCLUDE_KERNEL = 1 << 1, 1 << 5
on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="perf_event_open is Linux's",
)


class Played:
    """A kernel on which each thread counts `value` of each event."""

    def __init__(self, threads: int = 1, value: int = 100) -> None:
        self.thread_list = list(range(10, 10 + threads))
        self.value = value
        self.opened: dict[int, tuple[int, int, int, int]] = {}  # type, config, thread, leader
        self.flags: set[int] = set()
        self.on: set[int] = set()
        self.closed: list[int] = []
        self.refuse: Callable[[int, int, int], int | None] = lambda type_, config, thread: None
        self.times = (1000, 1000)

    def threads(self) -> list[int]:
        return self.thread_list

    def open(self, attribute: bytes, thread: int, leader: int) -> int:
        type_, size, config = struct.unpack_from("<IIQ", attribute)
        assert size == len(attribute) == 112
        if code := self.refuse(type_, config, thread):
            raise OSError(code, "refused")
        self.flags.add(struct.unpack_from("<Q", attribute, 40)[0])
        descriptor = 100 + len(self.opened)
        self.opened[descriptor] = (type_, config, thread, leader)
        return descriptor

    def enable(self, leader: int) -> None:
        self.on.add(leader)

    def disable(self, leader: int) -> None:
        self.on.discard(leader)

    def read(self, descriptor: int) -> bytes:
        return struct.pack("<QQQ", self.value, *self.times)

    def close(self, descriptor: int) -> None:
        self.closed.append(descriptor)

    def explain(self, error: OSError) -> str:
        return f"because of {error.errno}"


def test_every_thread_is_counted_and_every_descriptor_closed() -> None:
    system = Played(threads=3)
    seen: list[int] = []
    counts = count_events(lambda: seen.append(len(system.on)), groups=ONE, system=system)
    assert counts.events == {"cycles": 300.0, "instructions": 300.0}
    assert counts.reasons == {}
    assert seen == [3]  # one group on each thread was on meanwhile
    assert system.on == set()
    assert sorted(system.closed) == sorted(system.opened)


def test_threads_that_start_later_are_inherited_and_the_kernel_left_out() -> None:
    system = Played()
    count_events(lambda: None, groups=ONE, system=system)
    assert all(flags & _INHERIT and flags & _EXCLUDE_KERNEL for flags in system.flags)


def test_events_of_a_group_follow_one_leader_on_each_thread() -> None:
    system = Played(threads=2)
    count_events(lambda: None, groups=ONE, system=system)
    leaders = [leader for *_, leader in system.opened.values()]
    assert leaders == [-1, 100, -1, 102]


def test_an_event_that_one_thread_refuses_is_counted_on_none() -> None:
    system = Played(threads=2)
    system.refuse = lambda type_, config, thread: errno.ENOENT if (config, thread) == (1, 11) else 0
    counts = count_events(lambda: None, groups=ONE, system=system)
    assert counts.events == {"cycles": 200.0}
    assert counts.reasons == {"instructions": f"because of {errno.ENOENT}"}
    assert sorted(system.closed) == sorted(system.opened)


def test_one_reason_for_all_is_said_once() -> None:
    system = Played()
    system.refuse = lambda *_: errno.EACCES
    counts = count_events(lambda: None, groups=GROUPS, system=system)
    assert counts.events == {}
    assert counts.reasons == {"events": f"because of {errno.EACCES}"}


def test_a_thread_that_has_ended_is_passed_over() -> None:
    class Gone(Played):
        def open(self, attribute: bytes, thread: int, leader: int) -> int:
            if thread == 11:
                raise ProcessLookupError(errno.ESRCH, "gone")
            return super().open(attribute, thread, leader)

    counts = count_events(lambda: None, groups=ONE, system=Gone(threads=3))
    assert counts.events == {"cycles": 200.0, "instructions": 200.0}


def test_what_the_action_raises_passes_and_all_is_closed() -> None:
    system = Played()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        count_events(fail, groups=ONE, system=system)
    assert system.on == set()
    assert sorted(system.closed) == sorted(system.opened)


def test_without_perf_the_action_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise NoCounters("another system")

    monkeypatch.setattr(counters, "PerfSystem", refuse)
    ran: list[int] = []
    counts = count_events(lambda: ran.append(1))
    assert (ran, counts.events, counts.reasons) == ([1], {}, {"events": "another system"})


def test_a_counter_that_was_shared_is_scaled() -> None:
    system = Played(value=50)
    system.times = (1000, 250)
    counts = count_events(lambda: None, groups=ONE, system=system)
    assert counts.events["cycles"] == 200.0


def test_a_counter_that_never_ran_is_a_reason() -> None:
    system = Played()
    system.times = (1000, 0)
    counts = count_events(lambda: None, groups=ONE, system=system)
    assert counts.events == {}
    assert "no counter was free" in counts.reasons["cycles"]


@pytest.mark.parametrize(
    ("reading", "scaled"),
    [
        (struct.pack("<QQQ", 7, 100, 100), 7.0),
        (struct.pack("<QQQ", 7, 100, 50), 14.0),
        (struct.pack("<QQQ", 0, 0, 0), 0.0),
        (struct.pack("<QQQ", 7, 100, 0), None),
        (b"short", None),
    ],
)
def test_scaling(reading: bytes, scaled: float | None) -> None:
    assert scaled_count(reading) == scaled


@given(st.binary(max_size=40))
def test_no_reading_makes_it_fail(reading: bytes) -> None:
    scaled = scaled_count(reading)
    assert scaled is None or scaled >= 0


def test_this_machine_counts_or_says_why() -> None:
    """Where it counts, a second thread's work is in the figures."""

    def spin() -> None:
        sum(range(200_000))

    def both() -> None:
        other = threading.Thread(target=spin)
        other.start()
        spin()
        other.join()

    counts = count_events(both)
    assert counts.events or counts.reasons
    if "instructions" in counts.events:
        one = count_events(spin).events["instructions"]
        assert counts.events["instructions"] > 1.5 * one


@pytest.mark.parametrize(
    ("code", "paranoia", "words"),
    [
        (errno.EACCES, 4, "perf_event_paranoid is 4"),
        (errno.EPERM, 2, "seccomp"),
        (errno.EACCES, None, "seccomp"),
        (errno.ENOENT, 2, NO_UNIT),
        (errno.EOPNOTSUPP, 2, NO_UNIT),
        (errno.EMFILE, 2, "ulimit"),
        (errno.EIO, 2, os.strerror(errno.EIO)),
        (None, None, "for no stated reason"),
    ],
)
def test_refusals(code: int | None, paranoia: int | None, words: str) -> None:
    assert words in explain_refusal(code, paranoia)


@pytest.mark.parametrize(("system", "processor"), [("darwin", "arm64"), ("linux", "riscv64")])
def test_other_systems_have_none(
    monkeypatch: pytest.MonkeyPatch, system: str, processor: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    with pytest.raises(NoCounters, match=processor):
        PerfSystem()


@on_linux
def test_threads_of_this_process_are_seen() -> None:
    system = PerfSystem()
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        threads = system.threads()
        assert os.getpid() in threads
        assert other.native_id in threads
    finally:
        done.set()
        other.join()


@on_linux
def test_what_is_no_event_is_refused_with_a_reason() -> None:
    system = PerfSystem()
    with pytest.raises(OSError) as refusal:
        system.open(b"\xff" * 112, 0, -1)
    assert system.explain(refusal.value)
