"""Memory over time, from a trace's allocations and the ends of passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.profiling.report import memory_tracks, thinned
from topout.records import MemoryPoint
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
