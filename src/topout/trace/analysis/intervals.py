"""Arithmetic on sets of intervals of time: unions, gaps, overlaps, in whole nanoseconds.

Everything is sorting and running maxima over arrays, no loop over events: ten million intervals
take seconds. Intervals are half open, [start, end); empty ones cover nothing.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
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
