"""Runs of ranks brought together and clocks compared, on ranks made by hand."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trace.analysis.example_traces import Row, collective, rank
from topout.trace.analysis.alignment import MatchedRuns, Participant, align, match
from topout.trace.analysis.collectives import collective_runs
from topout.trace.table import Trace

_GROUP = ("all_reduce", "default_pg")


def _matched(*traces: Trace) -> MatchedRuns | None:
    members = [
        Participant(place, place, collective_runs(trace)) for place, trace in enumerate(traces)
    ]
    return match(*_GROUP, members)


def _runs(ends: list[int], durations: list[int], elements: list[int] | None = None) -> list[Row]:
    sizes = elements or [1000] * len(ends)
    return [
        collective(end - duration, duration, size)
        for end, duration, size in zip(ends, durations, sizes, strict=True)
    ]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=8),
    st.integers(-(10**6), 10**6),
    st.integers(0, 3),
)
def test_a_clock_that_is_ahead_is_found(steps: list[int], ahead: int, jitter: int) -> None:
    ends = [5000 * (place + 1) + step for place, step in enumerate(steps)]
    one = rank(0, *_runs(ends, steps), origin_ns=10**15, host="a")
    # The other host's clock is ahead; it rounds its ends down by a few nanoseconds.
    other = rank(1, *_runs([end + ahead - jitter for end in ends], steps), origin_ns=10**15,
                 host="b")  # fmt: skip
    found = align([one, other], [_matched(one, other) or _none()])
    assert found.offsets_ns == (0, ahead - jitter)
    assert found.clock_ahead_ns == (0, ahead - jitter)
    assert found.matched == (0, len(steps))


def _none() -> MatchedRuns:
    raise AssertionError("there are runs")


def test_origins_are_part_of_the_offset_but_not_of_the_clocks_difference() -> None:
    one = rank(0, *_runs([100, 200], [5, 5]), origin_ns=10_000)
    other = rank(1, *_runs([60, 160], [5, 5]), origin_ns=10_050)  # 10 ns ahead
    found = align([one, other], [_matched(one, other) or _none()])
    assert found.offsets_ns == (0, -40)
    assert found.clock_ahead_ns == (0, 10)


def test_ranks_of_one_host_share_its_clock() -> None:
    one = rank(0, *_runs([100, 200], [5, 5]), origin_ns=10_000, host="a")
    other = rank(1, *_runs([103, 203], [5, 5]), origin_ns=10_000, host="a")
    found = align([one, other], [_matched(one, other) or _none()])
    assert found.offsets_ns == (0, 0)
    assert found.matched == (0, 0)


def test_a_rank_without_common_runs_has_no_known_clock() -> None:
    one, other = rank(0, *_runs([100], [5])), rank(1)
    assert _matched(one, other) is None
    found = align([one, other], [])
    assert found.offsets_ns == (0, None)
    assert found.matched == (0, 0)
    assert found.clock_ahead_ns == (None, None)  # origins are not known


def test_a_clock_between_others_that_cannot_be_joined() -> None:
    """Rank 1 of three shares no run and no host; 0 and 2 share two runs."""
    zero = rank(0, *_runs([100, 200], [5, 5]), origin_ns=10_000, host="a")
    one = rank(1, origin_ns=10_000, host="b")
    two = rank(2, *_runs([130, 230], [5, 5]), origin_ns=10_000, host="c")
    members = [
        Participant(place, place, collective_runs(each)) for place, each in ((0, zero), (2, two))
    ]
    runs = match(*_GROUP, members)
    assert runs is not None
    assert (runs.name, runs.group, runs.participants) == (*_GROUP, tuple(members))
    found = align([zero, one, two], [runs])
    assert found.offsets_ns == (0, None, 30)
    assert found.matched == (0, 0, 2)
    assert found.clock_ahead_ns == (0, None, 30)


def test_bytes_of_matched_runs_are_those_of_one_participant() -> None:
    one = rank(0, *_runs([1000, 2000, 3000], [10] * 3, [1, 2, 3]))
    other = rank(1, *_runs([2000, 3000], [10] * 2, [2, 3]))
    found = _matched(one, other)
    assert found is not None
    assert found.bytes == 4 * (2 + 3)
    assert found.dropped == 1
    row: Row = {"elements_in": None, "elements_out": None}
    silent = [rank(number, collective(0, 10, **row), collective(50, 10)) for number in (0, 1)]
    unknown = _matched(*silent)
    assert unknown is not None and unknown.bytes is None


def test_sizes_that_are_not_known_agree_with_each_other() -> None:
    # Of 4 bytes, unknown, unknown the last two are the other's unknown ones, though the ends of the
    # first two lie together better.
    row: Row = {"elements_in": None, "elements_out": None}
    one = rank(0, collective(90, 10, 1), collective(190, 10, **row), collective(310, 10, **row))
    other = rank(1, collective(90, 10, **row), collective(190, 10, **row))
    found = _matched(one, other)
    assert found is not None
    assert found.ends.tolist() == [[200, 320], [100, 200]]


def test_a_gap_between_clocks_is_the_median_difference() -> None:
    # Ends differ by 10, 12 and 50: a late end of one run does not move the clock.
    one = rank(0, *_runs([100, 200, 300], [5] * 3), host="a")
    other = rank(1, *_runs([110, 212, 350], [5] * 3), host="b")
    assert align([one, other], [_matched(one, other) or _none()]).offsets_ns == (0, 12)


def test_runs_that_only_one_rank_recorded_are_left_out_at_either_edge() -> None:
    # The second rank began to record two runs later and stopped one run later.
    ends = [1000, 2100, 3000, 4500, 5000]
    one = rank(0, *_runs(ends, [10] * 5, [1, 2, 1, 2, 1]))
    other = rank(1, *_runs([end + 77 for end in ends[2:4]], [20] * 2, [1, 2]))
    found = _matched(one, other)
    assert found is not None
    assert found.count == 2
    assert found.dropped == 3
    assert (found.ends[1] - found.ends[0]).tolist() == [77, 77]


def test_messages_tell_which_run_is_which_where_times_do_not() -> None:
    # One run each millisecond; the second rank recorded the last two, with sizes 2 and 3.
    one = rank(0, *_runs([1000, 2000, 3000], [10] * 3, [1, 2, 3]))
    other = rank(1, *_runs([2000, 3000], [10] * 2, [2, 3]))
    found = _matched(one, other)
    assert found is not None
    assert found.ends.tolist() == [[2000, 3000], [2000, 3000]]


def test_an_offset_passes_from_rank_to_rank() -> None:
    # 0 and 1 share the group "a", 1 and 2 the group "b".
    zero = rank(0, collective(0, 10, group_name="a"))
    one = rank(1, collective(5, 10, group_name="a"), collective(95, 10, group_name="b"))
    two = rank(2, collective(150, 10, group_name="b"))
    traces = [zero, one, two]
    members = [
        Participant(place, place, collective_runs(each)) for place, each in enumerate(traces)
    ]
    pairs = [match("all_reduce", "a", members[:2]), match("all_reduce", "b", members[1:])]
    found = align(traces, [pair for pair in pairs if pair is not None])
    assert found.offsets_ns == (0, 5, 60)


def test_broadcasts_do_not_tell_the_clock() -> None:
    one, other = (rank(number, collective(0, 10, collective="broadcast")) for number in (0, 1))
    members = [
        Participant(place, place, collective_runs(each)) for place, each in enumerate((one, other))
    ]
    runs = match("broadcast", "default_pg", members)
    assert runs is not None
    assert align([one, other], [runs]).offsets_ns == (0, None)
