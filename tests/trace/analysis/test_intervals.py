"""Unions, gaps and overlaps against a reference that counts nanosecond by nanosecond."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from topout.trace.analysis.intervals import (
    Intervals,
    gaps,
    innermost,
    nothing,
    overlap,
    union,
    union_of,
)

_SPANS = st.lists(st.tuples(st.integers(-40, 40), st.integers(0, 12)), max_size=25)


def _covered(spans: list[tuple[int, int]]) -> set[int]:
    """Every whole nanosecond that any of them covers."""
    return {at for start, length in spans for at in range(start, start + length)}


def _union(spans: list[tuple[int, int]]) -> Intervals:
    starts = np.array([start for start, _ in spans], np.int64)
    return union(starts, starts + np.array([length for _, length in spans], np.int64))


def _moments(found: Intervals) -> set[int]:
    pairs = zip(found.starts.tolist(), found.ends.tolist(), strict=True)
    return {at for start, end in pairs for at in range(start, end)}


@given(_SPANS)
def test_a_union_covers_each_moment_once(spans: list[tuple[int, int]]) -> None:
    found = _union(spans)
    assert _moments(found) == _covered(spans)
    assert found.covered_ns == len(_covered(spans))
    assert found.covered_ns <= sum(length for _, length in spans)
    assert (found.starts[1:] > found.ends[:-1]).all()  # disjoint, ascending, not touching
    assert (found.ends > found.starts).all()


@given(_SPANS, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(spans: list[tuple[int, int]], random: object) -> None:
    shuffled = list(spans)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = _union(spans), _union(shuffled)
    assert one.starts.tolist() == other.starts.tolist()
    assert one.ends.tolist() == other.ends.tolist()


@given(_SPANS, st.integers(-50, 50), st.integers(0, 60))
def test_gaps_are_what_is_left_of_the_window(
    spans: list[tuple[int, int]], begin: int, length: int
) -> None:
    found = gaps(_union(spans), begin, begin + length)
    assert _moments(found) == set(range(begin, begin + length)) - _covered(spans)
    assert (found.ends > found.starts).all()


@given(_SPANS, _SPANS)
def test_overlap_and_union_of_two_sets(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    assert _moments(overlap(_union(one), _union(other))) == _covered(one) & _covered(other)
    assert _moments(union_of(_union(one), _union(other))) == _covered(one) | _covered(other)


@given(_SPANS, _SPANS)
def test_how_much_of_each_interval_is_covered(
    spans: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    starts = np.array([start for start, _ in asked], np.int64)
    ends = starts + np.array([length for _, length in asked], np.int64)
    found = _union(spans).covered_in(starts, ends).tolist()
    assert found == [
        len(_covered(spans) & set(range(start, start + length))) for start, length in asked
    ]


def test_overlaps_by_a_nanosecond_and_nested_events_count_once() -> None:
    # [0, 100) and [99, 150) overlap by 1 ns, [10, 20) lies inside: 150 ns, not 161.
    assert _union([(0, 100), (99, 51), (10, 10)]).covered_ns == 150


def test_empty_intervals_are_not_kept() -> None:
    # [5, 5) lies apart, [2, 2) within, [9, 9) at the end of [0, 9).
    found = _union([(0, 9), (2, 0), (9, 0), (15, 0)])
    assert (found.starts.tolist(), found.ends.tolist()) == ([0], [9])
    # Of [0, 12) the gap is [9, 12): none before what begins at 0; none where all is covered.
    left = gaps(found, 0, 12)
    assert (left.starts.tolist(), left.ends.tolist()) == ([9], [12])
    assert len(gaps(found, 0, 9)) == 0


def test_intervals_that_touch_are_one() -> None:
    found = _union([(4, 2), (0, 4), (7, 1)])
    assert (found.starts.tolist(), found.ends.tolist()) == ([0, 7], [6, 8])
    assert len(found) == 2
    # Before 0 nothing, before 3 three, before 6 and 7 six, before 8 and 9 seven.
    moments = np.array([-1, 0, 3, 6, 7, 8, 9], np.int64)
    assert found.covered_until(moments).tolist() == [0, 0, 3, 6, 6, 7, 7]


def test_nothing_covers_nothing() -> None:
    assert nothing().covered_ns == 0
    assert len(union(np.array([5]), np.array([5]))) == 0


Span = tuple[int, int, int]  # start, end, thread


@st.composite
def _nested(draw: st.DrawFn) -> list[Span]:
    """Operators that nest as a program's calls do, on up to three threads, shuffled."""
    spans: list[Span] = []

    def fill(start: int, end: int, thread: int, depth: int) -> None:
        at = start
        while at < end and depth < 4:
            begin = draw(st.integers(at, end))
            stop = draw(st.integers(begin, end))
            if stop == begin:
                return
            spans.append((begin, stop, thread))
            fill(begin, stop, thread, depth + 1)
            at = stop

    for thread in range(draw(st.integers(1, 3))):
        fill(0, 30, thread, 0)
    return draw(st.permutations(spans))


def _arrays(spans: list[Span]) -> list[np.ndarray]:
    return [np.array([span[field] for span in spans], np.int64) for field in range(3)]


def _own_by_hand(spans: list[Span], place: int) -> int:
    """Moments of one span that no shorter span inside it covers."""
    start, end, thread = spans[place]
    inner = set()
    for other, (begin, stop, of) in enumerate(spans):
        if other == place or of != thread or not (start <= begin and stop <= end):
            continue
        if (begin, stop) == (start, end) and other < place:
            continue  # of equals, the first is the outer one
        inner |= set(range(begin, stop))
    return end - start - len(inner)


def _own(spans: list[Span]) -> list[int]:
    return innermost(*_arrays(spans)).own_ns(len(spans)).tolist()


@given(_nested())
def test_own_times_are_those_counted_by_hand(spans: list[Span]) -> None:
    assert _own(spans) == [_own_by_hand(spans, place) for place in range(len(spans))]


@given(_nested())
def test_pieces_of_a_thread_are_disjoint_and_cover_what_it_did(spans: list[Span]) -> None:
    pieces = innermost(*_arrays(spans))
    threads = _arrays(spans)[2]
    seen: dict[int, set[int]] = {}
    for start, end, owner in zip(pieces.starts, pieces.ends, pieces.owners, strict=True):
        moments = set(range(int(start), int(end)))
        assert not moments & seen.setdefault(int(threads[owner]), set())
        seen[int(threads[owner])] |= moments
    for thread, covered in seen.items():
        assert covered == {
            at for start, end, of in spans if of == thread for at in range(start, end)
        }


def test_an_operator_that_outlasts_its_parent_by_rounding_is_cut() -> None:
    # [90, 102) began in [0, 100): it keeps 10 ns, its parent 90.
    assert _own([(0, 100, 1), (90, 102, 1)]) == [90, 10]


def test_the_same_moment_on_two_threads_is_not_nesting() -> None:
    assert _own([(0, 100, 1), (10, 20, 2)]) == [100, 10]
