"""Recordings with bad events and lost work, after public reports, with their right values."""

import pytest

from tests.trace.test_cases import report
from topout.records import TraceReport


def wall_and_busy_us(found: TraceReport) -> tuple[float, float]:
    (device,) = found.ranks
    return round(device.wall_s * 1e6, 6), round(device.busy_s * 1e6, 6)


@pytest.mark.parametrize(
    ("name", "wall_us", "busy_us", "words"),
    [
        # Ten kernels of 80 µs, one every 100 µs; of t2 five, and of t3 one is cut at 100 µs.
        ("t1_236years.json", 980, 800, "1 event without a duration, of more than a week"),
        ("t2_zero_ts.json", 480, 400, "15 events on another clock, up to 55.5 years before"),
        ("t26_far_future.json", 980, 800, "up to 55.5 years after all others (Memcpy DtoH"),
        ("t27_stray_early.json", 980, 800, "1 event on another clock, up to 55.5 years before"),
        ("t3_overflow_same_stream.json", 980, 820, "1 event of up to 1.60 s, still running when"),
        ("t23a_overwritten.json", 1180, 960, "written over a longer one"),
    ],
)
def test_one_bad_event_decides_nothing(
    name: str, wall_us: float, busy_us: float, words: str
) -> None:
    found = report(name)
    assert wall_and_busy_us(found) == (wall_us, busy_us)
    assert words in found.doubts[0].sentence
    assert found.doubts[0].about == name
    assert name not in found.doubts[0].sentence


def test_replays_without_kernels_are_unknown() -> None:
    """t6: of 100 launches of a graph 98 have no kernel."""
    found = report("t6_graph_underrecorded.json")
    (device,) = found.ranks
    assert device.idle_s is None
    assert device.busy_s + device.unknown_s == pytest.approx(device.wall_s)
    assert "98 of 100 cudaGraphLaunch" in device.reasons["idle_s"]
    assert not any("idle" in sentence or "helps" in sentence for sentence in found.findings)


def test_what_communication_could_save_agrees_with_the_critical_path() -> None:
    """t25: of 4.70 ms on the path 0.5 are communication, 11 %."""
    found = " ".join(report("t25_sync_nccl.json").findings)
    assert "without it 4.70 ms could be 4.20 ms" in found
    assert "communication 11 %" in found
