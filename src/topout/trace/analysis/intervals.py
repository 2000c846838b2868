"""Arithmetic on intervals of time in whole nanoseconds: unions, gaps, overlaps, and nesting.

Everything is sorting and running maxima over arrays, no loop over events: ten million intervals
take seconds. Intervals are half open, [start, end); empty ones cover nothing.

Operators of one thread nest: the time of `aten::linear` holds that of `aten::addmm`. Which one runs
innermost at each moment is found level by level, with a running maximum over a level's events.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]


@dataclass(frozen=True)
class Intervals:
    """Disjoint intervals in ascending order, none of them empty, none touching the next."""

    starts: Nanoseconds
    ends: Nanoseconds

    def __len__(self) -> int:
        return int(self.starts.size)

    @property
    def covered_ns(self) -> int:
        """Length of all intervals together."""
        return int((self.ends - self.starts).sum())

    @cached_property
    def _covered_before(self) -> Nanoseconds:
        """Covered length before each interval."""
        lengths = self.ends - self.starts
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[:-1]])

    def covered_until(self, moments: Nanoseconds) -> Nanoseconds:
        """Covered length before each of `moments`."""
        if not len(self):
            return np.zeros(moments.size, np.int64)
        place = np.searchsorted(self.starts, moments, side="right") - 1
        known = np.maximum(place, 0)
        inside = np.minimum(moments, self.ends[known]) - self.starts[known]
        covered: Nanoseconds = np.where(place < 0, 0, self._covered_before[known] + inside)
        return covered

    def covered_in(self, starts: Nanoseconds, ends: Nanoseconds) -> Nanoseconds:
        """How much of each of the given intervals is covered."""
        return self.covered_until(ends) - self.covered_until(starts)


def nothing() -> Intervals:
    """The empty set."""
    return Intervals(np.zeros(0, np.int64), np.zeros(0, np.int64))


def bounds_of(events: pl.DataFrame) -> tuple[Nanoseconds, Nanoseconds]:
    """Starts and ends of the events of a trace."""
    starts = events["start_ns"].to_numpy()
    return starts, starts + events["duration_ns"].to_numpy()


def union(starts: Nanoseconds, ends: Nanoseconds) -> Intervals:
    """What the given intervals cover, in any order, overlapping, nested or empty as they are."""
    full = ends > starts
    if not full.all():
        starts, ends = starts[full], ends[full]
    if starts.size == 0:
        return nothing()
    if (starts[1:] < starts[:-1]).any():
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
    reached = np.maximum.accumulate(ends)
    # A new interval begins where nothing before reaches up to it.
    first = np.concatenate([np.ones(1, np.bool_), starts[1:] > reached[:-1]])
    last = np.concatenate([first[1:], np.ones(1, np.bool_)])
    return Intervals(starts[first], reached[last])


def union_of(*sets: Intervals) -> Intervals:
    """What any of the sets covers."""
    return union(
        np.concatenate([each.starts for each in sets]), np.concatenate([each.ends for each in sets])
    )


def gaps(covered: Intervals, begin_ns: int, end_ns: int) -> Intervals:
    """What of [begin, end) is not covered."""
    starts = np.concatenate([np.array([begin_ns], np.int64), covered.ends])
    ends = np.concatenate([covered.starts, np.array([end_ns], np.int64)])
    starts, ends = np.maximum(starts, begin_ns), np.minimum(ends, end_ns)
    open_ = ends > starts
    return Intervals(starts[open_], ends[open_])


def overlap(one: Intervals, other: Intervals) -> Intervals:
    """What both sets cover."""
    if not len(one) or not len(other):
        return nothing()
    begin, end = int(min(one.starts[0], other.starts[0])), int(max(one.ends[-1], other.ends[-1]))
    # De Morgan: both cover what neither leaves open.
    return gaps(union_of(gaps(one, begin, end), gaps(other, begin, end)), begin, end)


@dataclass(frozen=True)
class Innermost:
    """Pieces of time, each with the event that runs innermost in it; in no order."""

    starts: Nanoseconds
    ends: Nanoseconds
    owners: NDArray[np.int64]  # positions in the given arrays

    def own_ns(self, count: int) -> Nanoseconds:
        """For each of the `count` events given the time in which no other ran inside it."""
        own = np.zeros(count, np.int64)
        np.add.at(own, self.owners, self.ends - self.starts)
        return own


def innermost(starts: Nanoseconds, ends: Nanoseconds, threads: NDArray[np.int64]) -> Innermost:
    """Cut the time of each thread into pieces by the innermost event.

    An event that outlasts the one it began in, as rounding makes it, is cut at that one's end.
    """
    if starts.size == 0:
        none = np.zeros(0, np.int64)
        return Innermost(none, none, none)
    # All threads on one axis, one behind the other, so that no event of one is inside another's.
    begin = int(starts.min())
    span = int(ends.max()) - begin + 1
    shift = np.unique(threads, return_inverse=True)[1].astype(np.int64) * span - begin
    order = np.lexsort((-ends, starts, shift))
    first, last = (starts + shift)[order], np.maximum(ends + shift, starts + shift)[order]
    parents = _parents(first, last)
    pieces = _pieces(first, last, parents)
    owners = order[pieces.owners]
    back = shift[owners]
    full = pieces.ends > pieces.starts
    return Innermost((pieces.starts - back)[full], (pieces.ends - back)[full], owners[full])


def _parents(first: Nanoseconds, last: Nanoseconds) -> NDArray[np.int64]:
    """The event around each event, −1 for none; cuts `last` to it. Sorted by start, longest first.

    In each round the events that none of the remaining ones holds are taken out; what remains
    lies inside the one taken out last before it.
    """
    parents = np.full(first.size, -1, np.int64)
    remaining = np.arange(first.size, dtype=np.int64)
    while remaining.size:
        starts, ends = first[remaining], last[remaining]
        reached = np.maximum.accumulate(ends)
        outermost = np.concatenate([np.ones(1, np.bool_), starts[1:] >= reached[:-1]])
        place = np.where(outermost, np.arange(remaining.size), 0)
        around = remaining[np.maximum.accumulate(place)][~outermost]
        remaining = remaining[~outermost]
        parents[remaining] = around
        last[remaining] = np.minimum(last[remaining], last[around])
    return parents


def _pieces(first: Nanoseconds, last: Nanoseconds, parents: NDArray[np.int64]) -> Innermost:
    """Before each child a piece of its parent, and after the last child the rest of the parent."""
    children = np.flatnonzero(parents >= 0)
    children = children[np.argsort(parents[children], kind="stable")]  # siblings keep their order
    around = parents[children]
    eldest = np.concatenate([np.ones(min(1, children.size), np.bool_), around[1:] != around[:-1]])
    before = np.concatenate([np.zeros(min(1, children.size), np.int64), last[children[:-1]]])
    before = np.where(eldest, first[around], before)
    rest = first.copy()
    youngest = np.concatenate([eldest[1:], np.ones(min(1, children.size), np.bool_)])
    rest[around[youngest]] = last[children[youngest]]
    everything = np.arange(first.size, dtype=np.int64)
    return Innermost(
        np.concatenate([before, rest]),
        np.concatenate([first[children], last]),
        np.concatenate([around, everything]),
    )
