"""Which operator runs innermost at each moment of a thread, and so the time that is its own.

Operators of one thread nest: the time of `aten::linear` holds that of `aten::addmm`. The tree is
found level by level, with a running maximum over all events of a level, no loop over events.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topout.trace.analysis.intervals import Nanoseconds


@dataclass(frozen=True)
class Innermost:
    """Pieces of time, each with the event that runs innermost in it; in no order."""

    starts: Nanoseconds
    ends: Nanoseconds
    owners: NDArray[np.int64]  # positions in the given arrays


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


def self_times_ns(
    starts: Nanoseconds, ends: Nanoseconds, threads: NDArray[np.int64]
) -> Nanoseconds:
    """Per event the time in which no other event of its thread ran inside it."""
    pieces = innermost(starts, ends, threads)
    own = np.zeros(starts.size, np.int64)
    np.add.at(own, pieces.owners, pieces.ends - pieces.starts)
    return own


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
