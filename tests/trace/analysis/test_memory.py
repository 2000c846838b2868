"""Memory over time: peaks stay, points become few."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trace.analysis.example_traces import Row, kernel, trace
from topout.trace.analysis.memory import MOST_POINTS, memory_timelines


def _change(start: int, size: int, total: int | None, reserved: int | None, device: int = 0) -> Row:
    return {
        "kind": "memory", "name": "[memory]", "start_ns": start, "duration_ns": 0, "bytes": size,
        "allocated_bytes": total, "reserved_bytes": reserved, "device": device,
    }  # fmt: skip


def test_points_are_seconds_from_the_first_event_of_the_trace() -> None:
    found = memory_timelines(
        trace(
            kernel(1_000_000_000, 10),
            _change(1_500_000_000, 512, 512, 2048),
            _change(2_000_000_000, -512, 0, 2048),
            _change(2_000_000_000, 64, 64, 0, device=-1),
        )
    )
    assert set(found) == {0, -1}
    assert [(point.at_s, point.allocated_bytes, point.reserved_bytes) for point in found[0]] == [
        (0.5, 512, 2048),
        (1.0, 0, 2048),
    ]
    assert found[-1][0].reserved_bytes is None  # the host reserves nothing


def test_totals_that_a_trace_does_not_say_are_summed_and_never_below_zero() -> None:
    # 100 more, 300 less, 50 more: the least is −200, where 0 must have been.
    rows = [_change(at, size, None, None) for at, size in ((0, 100), (1, -300), (2, 50))]
    found = memory_timelines(trace(*rows))[0]
    assert [point.allocated_bytes for point in found] == [300, 0, 50]


def test_a_trace_without_allocations_has_no_timeline() -> None:
    assert memory_timelines(trace(kernel(0, 10))) == {}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 10**6), st.integers(1, 10**6)),
        min_size=1,
        max_size=150,
    ),
    st.integers(6, 60),
)
def test_thinning_keeps_peaks_ends_and_order(
    changes: list[tuple[int, int, int]], most: int
) -> None:
    changes = sorted(changes, key=lambda change: change[0])
    rows = [_change(at, 1, total, reserved) for at, total, reserved in changes]
    found = memory_timelines(trace(*rows), most)[0]
    assert len(found) <= most or len(changes) <= most
    assert max(point.allocated_bytes for point in found) == max(total for _, total, _ in changes)
    assert max(point.reserved_bytes or 0 for point in found) == max(r for _, _, r in changes)
    kept = [
        (round(p.at_s * 1e9) + changes[0][0], p.allocated_bytes, p.reserved_bytes) for p in found
    ]
    assert kept[0] == changes[0]
    assert kept[-1] == changes[-1]
    assert set(kept) <= set(changes)
    assert [at for at, _, _ in kept] == sorted(at for at, _, _ in kept)


def test_a_long_timeline_is_thinned_to_some_hundred_points() -> None:
    rows = [_change(at, 1, at % 977, 5000) for at in range(5000)]
    assert 100 < len(memory_timelines(trace(*rows))[0]) <= MOST_POINTS
