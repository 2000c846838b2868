"""Wall = user + system + waiting, thread by thread."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.profiling.runs import (
    Reading,
    ThreadReading,
    elapsed_between,
    parse_stat,
    read_threads,
)

# pid (name) state ppid … utime stime: fields 14 and 15 of proc(5)
STAT = "77 (py (a) b) S 1 1 1 0 -1 4194304 10 0 0 0 30 10 0 0 20 0 1 0 5 6 7"


def test_a_line_of_the_kernel_is_read() -> None:
    assert parse_stat(STAT, 1.5) == ThreadReading("py (a) b", 1.5, 30, 10)
    assert parse_stat(STAT, 1.5, "loader") == ThreadReading("loader", 1.5, 30, 10)


@given(st.text(max_size=60))
def test_a_malformed_line_is_refused_or_read(text: str) -> None:
    found = parse_stat(text, 0.0)
    assert found is None or found.user_ticks >= 0


@pytest.mark.parametrize("text", ["", "77 (x", "77 (x) S 1", STAT.replace(" 30 ", " thirty ")])
def test_what_is_no_such_line_is_none(text: str) -> None:
    assert parse_stat(text, 0.0) is None


def test_the_parts_of_each_thread_add_up() -> None:
    before = Reading(10.0, {1: ThreadReading("main", 1.0, 100, 0)})
    after = Reading(
        12.0,
        {
            1: ThreadReading("main", 2.5, 220, 30),  # 120 user and 30 system ticks: 4 to 1
            2: ThreadReading("worker", 0.5, 50, 0),  # began in between
            3: ThreadReading("idle", 0.0, 0, 0),
        },
    )
    elapsed = elapsed_between(before, after, threads=2)
    assert elapsed is not None and elapsed.wall_s == 2.0
    main, worker = elapsed.threads
    assert (main.user_s, main.system_s, main.waiting_s) == pytest.approx((1.2, 0.3, 0.5))
    assert (worker.user_s, worker.system_s, worker.waiting_s) == pytest.approx((0.5, 0.0, 1.5))
    assert elapsed.processor_share == pytest.approx((1.5 + 0.5) / (2.0 * 2))


def test_a_thread_cannot_outrun_the_wall() -> None:
    before = Reading(0.0, {1: ThreadReading("main", 0.0, 0, 0)})
    elapsed = elapsed_between(before, Reading(1.0, {1: ThreadReading("main", 1.01, 101, 0)}), 1)
    assert elapsed is not None and elapsed.threads[0].waiting_s == 0.0


def test_nothing_read_or_no_time_is_none() -> None:
    assert elapsed_between(Reading(0.0, {}), Reading(1.0, {}), 1) is None
    one = Reading(1.0, {1: ThreadReading("main", 0.0, 0, 0)})
    assert elapsed_between(one, one, 1) is None


def test_this_processs_threads_are_seen() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="waiting one")
    thread.start()
    try:
        before = read_threads()
        spun = time.thread_time()
        while time.thread_time() - spun < 0.02:
            pass
        after = read_threads()
    finally:
        done.set()
        thread.join()
    names = {reading.name for reading in after.threads.values()}
    assert "waiting one" in names
    own = threading.get_native_id()
    assert after.threads[own].cpu_s - before.threads[own].cpu_s >= 0.02
