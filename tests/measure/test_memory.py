"""Peak memory from /proc, parsed from texts that the test writes, and of this process."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.measure import memory
from topout.measure.memory import begin_peak, parse_peak_rss_bytes, peak_rss_bytes

STATUS = "Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t  100000 kB\n"


def test_the_high_water_mark_is_in_kib() -> None:
    assert parse_peak_rss_bytes(STATUS) == 123456 * 1024


@pytest.mark.parametrize(
    "text", ["", "VmRSS: 5 kB", "VmHWM:", "VmHWM:\t", "VmHWM: many kB", "VmHWM: -5 kB"]
)
def test_what_is_missing_or_malformed_is_none(text: str) -> None:
    assert parse_peak_rss_bytes(text) is None


@given(st.text(alphabet="VmHWM: kB0123456789²٣-\n\t"))
def test_no_text_breaks_the_parser(text: str) -> None:
    found = parse_peak_rss_bytes("VmHWM:" + text)
    assert found is None or found >= 0


@given(st.integers(0, 2**50), st.sampled_from([" ", "\t", "   "]))
def test_any_size_is_read(kib: int, gap: str) -> None:
    assert parse_peak_rss_bytes(f"VmPeak: 1 kB\nVmHWM:{gap}{kib} kB\n") == 1024 * kib


@pytest.mark.skipif(sys.platform != "linux", reason="clear_refs is Linux's")
def test_the_peak_is_of_what_follows_its_beginning() -> None:
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])  # every page is touched, or it is not resident
    whole = peak_rss_bytes()
    del held
    if not begin_peak():
        pytest.skip("this system cannot reset the peak")
    after = peak_rss_bytes()
    assert after <= whole - (48 << 20)
    again = bytearray(64 << 20)
    again[::4096] = b"x" * len(again[::4096])
    assert peak_rss_bytes() >= after + (48 << 20)


def test_without_proc_the_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "missing" / "status")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    assert not begin_peak()
    # A Python with numpy takes tens of MiB, and no test machine has 1 TiB.
    assert 10 << 20 < peak_rss_bytes() < 1 << 40
