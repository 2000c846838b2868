"""Own time of nested operators against a stack, event by event."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from topout.trace.analysis.intervals import innermost

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
