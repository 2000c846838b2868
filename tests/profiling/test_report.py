"""Memory over time, from a trace's allocations and the ends of passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.report.profile.example_profile import example_phase, example_profile
from topout.profiling.report import memory_tracks, profile_doubts, profile_findings, thinned
from topout.records import MemoryPoint, PairedRatio
from topout.trace.capture import PhaseMark
from topout.trace.table import Device

from .profile_traces import event, trace_of


def test_host_and_device_have_tracks_of_their_own() -> None:
    trace = trace_of(
        event("memory", "[memory]", 1000, 1000, bytes=64, allocated_bytes=64, reserved_bytes=0),
        event("memory", "[memory]", 2000, 2000, bytes=-64, allocated_bytes=0, reserved_bytes=0),
        event(
            "memory",
            "[memory]",
            1500,
            1500,
            device=0,
            bytes=512,
            allocated_bytes=512,
            reserved_bytes=2048,
        ),
        devices=(Device(0, "A GPU", memory_bytes=1 << 30),),
    )
    marks = [PhaseMark("call 1", 5.0, 6.0, 1000, 3000)]
    host, gpu = memory_tracks(trace, marks, 1000)
    assert (host.name, host.peak_allocated_bytes, host.peak_reserved_bytes) == ("host", 64, None)
    assert [point.at_s for point in host.points] == pytest.approx([0.0, 1e-06])
    assert [(p.at_s, p.allocated_bytes) for p in host.resident] == [(0.0, 1000), (1.0, 3000)]
    assert host.peak_resident_bytes == 3000
    assert (gpu.name, gpu.peak_allocated_bytes, gpu.peak_reserved_bytes) == ("A GPU", 512, 2048)
    assert gpu.total_bytes == 1 << 30


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=400), st.integers(4, 40))
def test_thinning_keeps_the_peak_the_lowest_and_the_last(sizes: list[int], most: int) -> None:
    points = [MemoryPoint(at_s=float(i), allocated_bytes=size) for i, size in enumerate(sizes)]
    kept = thinned(points, most)
    assert max(p.allocated_bytes for p in kept) == max(sizes)
    assert min(p.allocated_bytes for p in kept) == min(sizes)
    assert kept[-1] == points[-1] and len(kept) <= most + 1
    assert [p.at_s for p in kept] == sorted(p.at_s for p in kept)


@pytest.mark.parametrize(("wall_s", "words"), [(0.0102, ""), (0.0103, "2.9 % of its time")])
def test_time_outside_operators_and_gaps_is_doubted_above_two_percent(
    wall_s: float, words: str
) -> None:
    """8 ms of operators and 2 ms of gaps: 0.3 of 10.3 ms are 2.9 %, 0.2 of 10.2 ms 1.96 %."""
    phase = replace(example_phase(), wall_s=wall_s, slowdown=None)
    assert phase.unaccounted_share == pytest.approx(1 - 0.01 / wall_s)
    doubts = profile_doubts(example_profile(phases=[phase]))
    assert [doubt.about for doubt in doubts] == (["decode"] if words else [])
    assert all(words in doubt.sentence for doubt in doubts)


def test_more_operators_than_the_clock_has_time_for_are_doubted_as_well() -> None:
    phase = replace(example_phase(), wall_s=0.008, slowdown=None)
    assert phase.unaccounted_share == pytest.approx(0.25)
    assert len(profile_doubts(example_profile(phases=[phase]))) == 1


@pytest.mark.parametrize(("median", "count"), [(1.25, 0), (1.26, 1)])
def test_a_profiler_that_costs_a_quarter_is_doubted(median: float, count: int) -> None:
    slowdown = PairedRatio(median=median, low=1.2, high=1.3, pairs=[median])
    phase = replace(example_phase(), slowdown=slowdown)
    assert len(profile_doubts(example_profile(phases=[phase]))) == count


def test_work_above_the_arithmetic_ceiling_doubts_that() -> None:
    calm = replace(example_phase(), slowdown=None)
    rate = replace(calm.rates[0], of_compute_ceiling=1.25)
    report = example_profile(phases=[replace(calm, rates=[rate])])
    (doubt,) = profile_doubts(report)
    # 50 GFLOP/s are 1.25 times 40.
    assert "above the arithmetic ceiling of 40.0 GFLOP/s" in doubt.sentence
    said = " ".join(profile_findings(report))
    assert ">100 % of the measured arithmetic rate: the ceiling was measured too low." in said


def test_bytes_from_a_nearer_level_are_no_doubt_unless_no_level_is_so_fast() -> None:
    """10 GB/s of an operator, whose pass lies in a level of 5 GB/s."""
    calm = replace(example_phase(), slowdown=None)
    rate = replace(calm.rates[0], of_bandwidth_ceiling=2.0)
    phase = replace(calm, rates=[rate])
    report = example_profile(phases=[phase])
    assert report.ceilings is not None
    said = " ".join(profile_findings(report))
    assert "its bytes came from a nearer level, or the ceiling was measured too low." in said
    for fastest, count in ((1e10, 0), (5e9, 1)):
        levels = [replace(each, bytes_per_s=fastest) for each in report.ceilings.bandwidth]
        ceilings = replace(report.ceilings, bandwidth=levels)
        assert len(profile_doubts(replace(report, ceilings=ceilings))) == count
    assert profile_doubts(replace(report, ceilings=None)) == []
