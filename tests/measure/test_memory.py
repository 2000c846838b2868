"""Peak memory from /proc, parsed from texts that the test writes, and of this process."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.measure import usage
from topout.measure.usage import begin_peak, parse_peak_rss_bytes, peak_rss_bytes

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


HELD_MIB = 128
PEAKS = f"""
from topout.measure.usage import begin_peak, peak_rss_bytes
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
    monkeypatch.setattr(usage, "_STATUS", tmp_path / "missing" / "status")
    monkeypatch.setattr(usage, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    assert not begin_peak()
    # A Python with numpy takes tens of MiB, and no test machine has 1 TiB.
    assert 10 << 20 < peak_rss_bytes() < 1 << 40
