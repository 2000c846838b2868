"""The kernel's interface for hardware events, and why it refuses."""

import errno
import os
import platform
import sys
import threading

import pytest

from topout.measure.perf_system import NO_UNIT, NoCounters, explain_refusal, linux_perf

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="perf_event_open is Linux's",
)


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
        linux_perf()


@on_linux
def test_threads_of_this_process_are_seen() -> None:
    system = linux_perf()
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
    system = linux_perf()
    with pytest.raises(OSError) as refusal:
        system.open(b"\xff" * 112, 0, -1)
    assert system.explain(refusal.value)
