"""Readings of /proc/stat, from texts that the test writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.measure import process
from topout.measure.process import (
    ProcessorTime,
    begin_peak,
    busy_share,
    field_bytes,
    how_ended,
    others_share,
    parse_proc_stat,
    peak_rss_bytes,
    processor_time,
    stolen_share,
    suspended_s,
)

#              user nice system idle iowait irq softirq steal guest guest_nice
STAT = "cpu  100 20 30 400 50 6 7 80 9 1\ncpu0 50 10 15 200 25 3 3 40 4 1\nintr 1 2 3\nctxt 5\n"
STATUS = "Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t  100000 kB\n"


def test_the_first_line_is_of_all_cpus() -> None:
    # total: 100 + 20 + 30 + 400 + 50 + 6 + 7 + 80 = 693, since user and nice hold the guests'
    # time already; idle: 400 + 50 of waiting for disks.
    assert parse_proc_stat(STAT) == ProcessorTime(total=693, idle=450, steal=80)


def test_kernels_without_guest_columns() -> None:
    assert parse_proc_stat("cpu 1 2 3 4 5 6 7 8") == ProcessorTime(total=36, idle=9, steal=8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "cpu0 1 2 3 4 5 6 7 8\n",  # of one CPU
        "cpu 1 2 3 4 5 6 7\n",  # kernels before 2.6.11 have no steal
        "cpu 1 2 3 4 5 6 7 -8\n",
        "cpu 1 2 3 four 5 6 7 8\n",
        "cpu\n",
    ],
)
def test_what_is_missing_or_malformed_is_none(text: str) -> None:
    assert parse_proc_stat(text) is None


@given(st.text(alphabet="cpu0123456789²٣ -.\n\tx"))
def test_no_text_breaks_the_parser(text: str) -> None:
    found = parse_proc_stat("cpu " + text)
    assert found is None or (found.total >= found.idle >= 0 and found.total >= found.steal >= 0)


@given(st.lists(st.integers(0, 10**15), min_size=8, max_size=10))
def test_any_counters_are_read(ticks: list[int]) -> None:
    found = parse_proc_stat("cpu  " + " ".join(map(str, ticks)) + "\n")
    assert found == ProcessorTime(total=sum(ticks[:8]), idle=ticks[3] + ticks[4], steal=ticks[7])


def test_shares_are_of_the_time_between_two_readings() -> None:
    before = ProcessorTime(total=1000, idle=600, steal=100)
    after = ProcessorTime(total=1200, idle=650, steal=130)
    assert stolen_share(before, after) == pytest.approx(0.15)  # 30 of 200
    assert busy_share(before, after) == pytest.approx(0.75)  # 200 − 50 idle, of 200


def test_counters_that_step_back_give_no_negative_share() -> None:
    """Some kernels correct iowait and steal downwards."""
    before = ProcessorTime(total=1000, idle=600, steal=100)
    after = ProcessorTime(total=1100, idle=590, steal=90)
    assert stolen_share(before, after) == 0.0
    assert busy_share(before, after) == 1.0


@pytest.mark.parametrize("share", [stolen_share, busy_share])
def test_without_two_readings_there_is_no_share(share) -> None:  # type: ignore[no-untyped-def]
    reading = ProcessorTime(total=1000, idle=600, steal=100)
    assert share(None, reading) is None
    assert share(reading, None) is None
    assert share(reading, reading) is None  # no time passed


def test_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text(STAT)
    assert processor_time(path) == parse_proc_stat(STAT)
    assert processor_time(tmp_path / "missing") is None


def test_the_high_water_mark_is_in_kib() -> None:
    assert field_bytes(STATUS, "VmHWM") == 123456 * 1024


@pytest.mark.parametrize(
    "text", ["", "VmRSS: 5 kB", "VmHWM:", "VmHWM:\t", "VmHWM: many kB", "VmHWM: -5 kB"]
)
def test_a_peak_that_is_missing_or_malformed_is_none(text: str) -> None:
    assert field_bytes(text, "VmHWM") is None


@given(st.text(alphabet="VmHWM: kB0123456789²٣-\n\t"))
def test_no_text_breaks_the_parser_of_memory(text: str) -> None:
    found = field_bytes("VmHWM:" + text, "VmHWM")
    assert found is None or found >= 0


@given(st.integers(0, 2**50), st.sampled_from([" ", "\t", "   "]))
def test_any_size_is_read(kib: int, gap: str) -> None:
    assert field_bytes(f"VmPeak: 1 kB\nVmHWM:{gap}{kib} kB\n", "VmHWM") == 1024 * kib


HELD_MIB = 128
PEAKS = f"""
from topout.measure.process import begin_peak, peak_rss_bytes
def hold():
    held = bytearray({HELD_MIB} << 20)
    held[::4096] = b"x" * len(held[::4096])  # every page is touched, or it is not resident
hold()
print(peak_rss_bytes(), begin_peak(), peak_rss_bytes())
hold()
print(peak_rss_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="clear_refs is Linux's")
def test_the_peak_is_of_what_follows_its_beginning() -> None:
    """In a process of its own: here it would depend on what other tests hold and release."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    whole, reset, after, again = done.stdout.split()
    if reset == "False":
        pytest.skip("this system cannot reset the peak")
    half = HELD_MIB << 19  # the system may take pages back meanwhile
    assert int(whole) - int(after) > half
    assert int(again) - int(after) > half


def test_without_proc_the_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_STATUS", tmp_path / "missing" / "status")
    monkeypatch.setattr(process, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    assert not begin_peak()
    # A Python with numpy takes tens of MiB, and no test machine has 1 TiB.
    assert 10 << 20 < peak_rss_bytes() < 1 << 40


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "ended with exit status 1"),
        (-11, "crashed with SIGSEGV"),
        (-9, "was killed (SIGKILL), which is how the system ends a process for memory"),
        (-250, "crashed with signal 250"),
    ],
)
def test_an_exit_status_in_words(status: int, words: str) -> None:
    assert how_ended(status) == words


def test_what_others_used_is_what_was_neither_idle_nor_stolen_nor_ones_own() -> None:
    # Of 400 ticks (4 s) 120 were idle and 40 stolen; of the 240 used 2 s are one's own.
    before = ProcessorTime(total=1000, idle=500, steal=10)
    after = ProcessorTime(total=1400, idle=620, steal=50)
    ticks = os.sysconf("SC_CLK_TCK")
    assert others_share(before, after, 200 / ticks) == pytest.approx(0.1)
    assert others_share(before, after, 300 / ticks) == 0.0
    assert others_share(before, before, 0.0) is None
    assert others_share(None, after, 0.0) is None


def test_the_time_that_the_machine_slept_only_grows() -> None:
    first = suspended_s()
    assert first + 1e-3 >= 0.0 and suspended_s() >= first - 1e-3
