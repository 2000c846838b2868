"""Runs of one collective brought together over ranks, and the clocks of their hosts compared.

The k-th run of a collective in a process group is the same run on all its ranks. Traces that
begin or end at different moments hold runs at their edges that others lack: the shift at which
messages agree and ends lie together best is taken. No rank leaves an all-reduce before all have
entered it, so that ends lie together in truth: the median of their differences is what two
clocks differ by. Hosts' clocks are off by hundreds of microseconds; ranks of one host share one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.trace.analysis.collectives import SYNCHRONISING
from topout.trace.analysis.intervals import Nanoseconds
from topout.trace.table import Trace

_MOST_SHIFTS = 200  # that are tried where ranks recorded different numbers of runs


@dataclass(frozen=True)
class Participant:
    """One rank or device with its runs of all collectives, as `collective_runs` gives them."""

    number: int
    clock: int  # position of its trace
    runs: pl.DataFrame


@dataclass(frozen=True)
class MatchedRuns:
    """The same runs of one collective on several participants: arrays of participant × run."""

    name: str
    group: str
    participants: tuple[Participant, ...]
    starts: Nanoseconds
    ends: Nanoseconds
    bytes: int | None  # of one participant's messages in sum
    dropped: int  # runs at the edges of some traces that others did not record

    @property
    def count(self) -> int:
        """Runs per participant."""
        return int(self.starts.shape[1])


@dataclass(frozen=True)
class Alignment:
    """What to subtract from the times of each trace to put them on the clock of the first."""

    offsets_ns: tuple[int | None, ...]  # per trace; None where nothing joins it to the first
    matched: tuple[int, ...]  # runs that each offset rests on; 0 where one clock serves both
    # How far the clock itself is ahead of the first; None where origins are not known.
    clock_ahead_ns: tuple[int | None, ...]


def match(name: str, group: str, participants: Sequence[Participant]) -> MatchedRuns | None:
    """Bring together the runs of one collective in one group; None where some have none."""
    chosen = [
        each.runs.filter((pl.col("name") == name) & (pl.col("group") == group))
        for each in participants
    ]
    count = min((runs.height for runs in chosen), default=0)
    if count == 0:
        return None
    reference = min(chosen, key=lambda runs: runs.height)
    taken = [runs.slice(_best_shift(runs, reference), count) for runs in chosen]
    return MatchedRuns(
        name=name,
        group=group,
        participants=tuple(participants),
        starts=np.stack([runs["start_ns"].to_numpy() for runs in taken]),
        ends=np.stack([runs["end_ns"].to_numpy() for runs in taken]),
        bytes=None if reference["bytes"].has_nulls() else int(reference["bytes"].sum()),
        dropped=sum(runs.height - count for runs in chosen),
    )


def _best_shift(runs: pl.DataFrame, reference: pl.DataFrame) -> int:
    """Runs to leave out at the beginning so that the rest are those of `reference`."""
    count, most = reference.height, runs.height - reference.height
    if most == 0:
        return 0
    ends, reference_ends = runs["end_ns"].to_numpy(), reference["end_ns"].to_numpy()
    sizes = runs["bytes"].fill_null(-1).to_numpy()
    reference_sizes = reference["bytes"].fill_null(-1).to_numpy()
    best, best_score = 0, (count + 1, 0.0)
    for shift in range(min(most, _MOST_SHIFTS) + 1):
        differences = ends[shift : shift + count] - reference_ends
        unlike = int((sizes[shift : shift + count] != reference_sizes).sum())
        score = (unlike, _spread(differences))
        if score < best_score:
            best, best_score = shift, score
    return best


def _spread(differences: NDArray[np.int64]) -> float:
    return float(np.median(np.abs(differences - np.median(differences))))


def align(traces: Sequence[Trace], matched: Sequence[MatchedRuns]) -> Alignment:
    """Offsets between the traces' clocks, from one known to the next until none can be added."""
    offsets: dict[int, int] = {0: 0} if traces else {}
    rests_on: dict[int, int] = {0: 0}
    differences = _differences(matched)
    while True:
        added = _next_offset(traces, differences, offsets)
        if added is None:
            break
        clock, offset, count = added
        offsets[clock], rests_on[clock] = offset, count
    return Alignment(
        tuple(offsets.get(clock) for clock in range(len(traces))),
        tuple(rests_on.get(clock, 0) for clock in range(len(traces))),
        tuple(_ahead(traces, clock, offsets.get(clock)) for clock in range(len(traces))),
    )


def _next_offset(
    traces: Sequence[Trace],
    differences: dict[tuple[int, int], list[NDArray[np.int64]]],
    offsets: dict[int, int],
) -> tuple[int, int, int] | None:
    """The next clock that can be joined to a known one: its number, offset and runs used."""
    for known in list(offsets):
        for clock in range(len(traces)):
            if clock not in offsets and _one_clock(traces[known], traces[clock]):
                behind = traces[known].origin_ns - traces[clock].origin_ns
                return clock, offsets[known] + behind, 0
    for (known, clock), parts in differences.items():
        if known in offsets and clock not in offsets:
            all_of = np.concatenate(parts)
            return clock, offsets[known] + round(float(np.median(all_of))), int(all_of.size)
    return None


def _one_clock(one: Trace, other: Trace) -> bool:
    return one.host is not None and one.host == other.host and bool(
        one.origin_ns and other.origin_ns
    )  # fmt: skip


def _differences(
    matched: Sequence[MatchedRuns],
) -> dict[tuple[int, int], list[NDArray[np.int64]]]:
    """Differences of ends for each ordered pair of clocks that share runs."""
    found: dict[tuple[int, int], list[NDArray[np.int64]]] = {}
    for runs in matched:
        if runs.name not in SYNCHRONISING:
            continue
        # One participant per clock is enough: devices of one trace share its clock.
        places = {each.clock: place for place, each in enumerate(runs.participants)}
        for known, at in places.items():
            for clock, other in places.items():
                if known != clock:
                    difference = runs.ends[other] - runs.ends[at]
                    found.setdefault((known, clock), []).append(difference)
    return found


def _ahead(traces: Sequence[Trace], clock: int, offset: int | None) -> int | None:
    first, other = traces[0].origin_ns, traces[clock].origin_ns
    return None if offset is None or not first or not other else offset + other - first
