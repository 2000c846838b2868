"""Who sends how much to whom, how fast collectives are, and how long they wait for a late rank.

Places send to each other by copies and by the rings of collectives.

A collective ends on all ranks together but begins on each when that rank gets there. The shortest
duration of a run over the ranks is that of the last to come, which waits for nobody: it is the
transfer. What the others spent beyond it is waiting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl

from topout.records.trace import CollectiveTime, Communication, Transfer
from topout.trace.analysis.alignment import Alignment, MatchedRuns, Participant, align, match
from topout.trace.analysis.collectives import (
    SYNCHRONISING,
    bus_share,
    collective_runs,
    sent_share,
)
from topout.trace.analysis.intervals import Nanoseconds
from topout.trace.table import HOST_DEVICE, Trace

_Place = tuple[int, int]  # source and destination
_SINGLE_PEERS = frozenset({"send", "recv", "send_recv"})
_NOT_IN_RING = (
    "Collectives without a known size or without known ranks of their group, and sends to single "
    "peers, are not in the matrix."
)
_ONE_RANK = (
    "One rank alone does not show how much of the time it waited for others: give the traces of "
    "all ranks. The bandwidth is of the whole time, so at least that."
)
_NO_SIZE = "The trace does not say how large the messages are."


@dataclass
class _Sent:
    """What went from one place to another so far."""

    bytes: int | None = None  # where none of it says its size
    total_ns: float = 0.0
    calls: int = 0


@dataclass
class Matrix:
    """What each place sent to each other, and what could not be placed; the host is −1."""

    reasons: dict[str, str] = field(default_factory=dict)
    _cells: dict[_Place, _Sent] = field(default_factory=dict)
    _unplaced: int = 0  # copies whose ends the trace does not say
    _without_bytes: int = 0

    def transfers(self) -> list[Transfer]:
        """All of it, by source and destination."""
        return [
            Transfer(
                source=source,
                destination=destination,
                bytes=sent.bytes,
                total_s=sent.total_ns / 1e9,
                calls=sent.calls,
            )
            for (source, destination), sent in sorted(self._cells.items())
        ]

    def add_ring(self, collective: CollectiveTime, members: Sequence[int], world_size: int) -> None:
        """Count what each of the `members` sends to the next of the ring, where that is known."""
        if collective.name == "barrier":
            return
        ring = _ring(collective, members, world_size)
        if ring is None or collective.sent_bytes is None or not set(members) <= set(ring):
            self.reasons["transfers"] = _NOT_IN_RING
            return
        took_s = collective.total_s if collective.transfer_s is None else collective.transfer_s
        for rank in members:
            following = ring[(ring.index(rank) + 1) % len(ring)]
            self._add((rank, following), collective.sent_bytes, took_s * 1e9, collective.calls)

    def add_copies(self, trace: Trace, number_of: Callable[[int], int | None]) -> None:
        """Count the copies of `trace`; `number_of` gives a device's number here, or None.

        A copy within one device stands on the diagonal: it uses that device's memory, and no link.
        """
        for row in _summed_copies(trace).iter_rows(named=True):
            place = _ends(row["device"], row["copy_kind"], row["from_device"], row["to_device"])
            numbered = None if place is None else _numbered(place, number_of)
            if numbered is None:
                self._unplaced += row["calls"]
                continue
            self._without_bytes += row["without_bytes"]
            self._add(numbered, row["bytes"], row["duration_ns"], row["calls"])
        if self._unplaced:
            self.reasons["copies"] = (
                f"{self._unplaced} copies are not in the matrix: the trace does not say between "
                "which devices they went, or which rank uses them."
            )
        if self._without_bytes:
            self.reasons["bytes"] = (
                f"{self._without_bytes} copies carry no bytes: their time is in the matrix, their "
                "size is not."
            )

    def _add(self, place: _Place, sent_bytes: int | None, total_ns: float, calls: int) -> None:
        cell = self._cells.setdefault(place, _Sent())
        if sent_bytes is not None:
            cell.bytes = (cell.bytes or 0) + sent_bytes
        cell.total_ns += total_ns
        cell.calls += calls


def _ring(
    collective: CollectiveTime, members: Sequence[int], world_size: int
) -> Sequence[int] | None:
    """The ranks of a collective's group in the order of the ring; None where they are not known."""
    size = collective.group_size or 0
    if collective.name in _SINGLE_PEERS:
        return None
    if len(members) == size:
        return sorted(members)
    return range(world_size) if size == world_size else None


def _summed_copies(trace: Trace) -> pl.DataFrame:
    return (
        trace.events.lazy()
        .filter(pl.col("kind") == "memcpy")
        .group_by("device", "copy_kind", "from_device", "to_device")
        .agg(
            pl.when(pl.col("bytes").is_not_null().any()).then(pl.col("bytes").sum()),
            pl.col("bytes").null_count().alias("without_bytes"),
            pl.col("duration_ns").sum(),
            pl.len().alias("calls"),
        )
        .sort("device", "copy_kind", "from_device", "to_device")
        .collect()
    )


def _ends(
    device: int | None, kind: str | None, source: int | None, destination: int | None
) -> _Place | None:
    """Source and destination as devices of the trace; None where they cannot be known."""
    if source is not None and destination is not None:
        return source, destination
    if kind == "HtoH":
        return HOST_DEVICE, HOST_DEVICE
    if device is None or device == HOST_DEVICE:
        return None
    ends = {"HtoD": (HOST_DEVICE, device), "DtoH": (device, HOST_DEVICE), "DtoD": (device, device)}
    return ends.get(kind or "")


def _numbered(place: _Place, number_of: Callable[[int], int | None]) -> _Place | None:
    source, destination = (
        HOST_DEVICE if device == HOST_DEVICE else number_of(device) for device in place
    )
    return None if source is None or destination is None else (source, destination)


def communication_of(traces: Sequence[Trace]) -> Communication:
    """Bytes and time of copies and collectives over all traces, which are ranks of one job."""
    return study(traces)[0]


def study(traces: Sequence[Trace]) -> tuple[Communication, Alignment]:
    """As `communication_of`, with how the clocks of the traces were put together."""
    by_rank = len(traces) > 1 or any((trace.world_size or 1) > 1 for trace in traces)
    groups = _grouped(_participants(traces, by_rank=by_rank))
    matched = {key: match(*key, members) for key, members in groups.items() if len(members) > 1}
    alignment = align(traces, [runs for runs in matched.values() if runs is not None])
    world_size = max((trace.world_size or 0 for trace in traces), default=0) if by_rank else 0
    matrix = Matrix()
    collectives = []
    for (name, group), members in groups.items():
        found = _Collective(name, group, members, matched.get((name, group)), alignment).time()
        collectives.append(found)
        matrix.add_ring(found, [each.number for each in members], world_size)
    _add_copies(matrix, traces, by_rank=by_rank)
    collectives.sort(key=lambda each: -each.total_s)
    communication = Communication(
        unit="rank" if by_rank else "device",
        transfers=matrix.transfers(),
        collectives=collectives,
        reasons=matrix.reasons,
    )
    return communication, alignment


def rank_numbers(traces: Sequence[Trace]) -> list[int]:
    """The rank of each trace; its place in the list where ranks are missing or occur twice."""
    ranks = [trace.rank for trace in traces]
    known = [rank for rank in ranks if rank is not None]
    if len(set(known)) < len(traces):
        return list(range(len(traces)))
    return known


def _participants(traces: Sequence[Trace], *, by_rank: bool) -> list[Participant]:
    participants = []
    for clock, (number, trace) in enumerate(zip(rank_numbers(traces), traces, strict=True)):
        runs = collective_runs(trace)
        if by_rank:
            participants.append(Participant(number, clock, runs))
            continue
        for device in runs["device"].unique().sort().to_list():
            of_device = runs.filter(pl.col("device") == device)
            participants.append(Participant(device, clock, of_device))
    return sorted(participants, key=lambda each: each.number)


def _grouped(participants: Sequence[Participant]) -> dict[tuple[str, str], list[Participant]]:
    """Participants of each collective of each process group."""
    groups: dict[tuple[str, str], list[Participant]] = {}
    for each in participants:
        for name, group in each.runs.select("name", "group").unique(maintain_order=True).rows():
            groups.setdefault((name, group), []).append(each)
    return groups


@dataclass(frozen=True)
class _Collective:
    """One collective in one process group, with the ranks that ran it."""

    name: str
    group: str
    members: list[Participant]
    matched: MatchedRuns | None
    alignment: Alignment

    def time(self) -> CollectiveTime:
        """Its record."""
        runs = [self._runs_of(each) for each in self.members]
        durations = [int((each["end_ns"] - each["start_ns"]).sum()) for each in runs]
        total_s = sum(durations) / len(durations) / 1e9
        size = runs[0]["group_size"].max()
        ranks = size if isinstance(size, int) else len(self.members)
        moved = None if runs[0]["bytes"].has_nulls() else int(runs[0]["bytes"].sum())
        sent = sent_share(self.name, ranks)
        transfer_s, waiting_s, late_rank, reason = self._split(ranks)
        bus = bus_share(self.name, ranks)
        timed, time_s = moved, total_s
        if transfer_s is not None and self.matched is not None:
            timed, time_s = self.matched.bytes, transfer_s
        if moved is None and self.name != "barrier":
            reason = f"{reason} {_NO_SIZE}" if reason else _NO_SIZE
        return CollectiveTime(
            name=self.name,
            group=self.group,
            group_size=ranks if ranks > 1 else None,
            calls=runs[0].height,
            bytes=moved,
            sent_bytes=None if moved is None or sent is None else round(moved * sent),
            total_s=total_s,
            transfer_s=transfer_s,
            waiting_s=waiting_s,
            late_rank=late_rank,
            bus_bandwidth_bytes_per_s=(
                None if not timed or bus is None or time_s <= 0 else timed * bus / time_s
            ),
            reason=reason,
        )

    def _runs_of(self, participant: Participant) -> pl.DataFrame:
        return participant.runs.filter(
            (pl.col("name") == self.name) & (pl.col("group") == self.group)
        )

    def _split(self, ranks: int) -> tuple[float | None, float | None, int | None, str | None]:
        """Transfer and waiting time, the late rank; or why they cannot be known."""
        if len(self.members) == 1:
            return None, None, None, _ONE_RANK
        if len(self.members) > ranks:
            return None, None, None, (
                f"{len(self.members)} ranks ran it in groups of {ranks} of the same name: which "
                "ran together is not known."
            )  # fmt: skip
        if self.name not in SYNCHRONISING and self.name not in {"broadcast", "reduce"}:
            return None, None, None, (
                "Ranks of it do not begin and end together, so that waiting cannot be told apart."
            )  # fmt: skip
        assert self.matched is not None  # every member has runs
        durations = self.matched.ends - self.matched.starts
        shortest = durations.min(axis=0)
        transfer = int(shortest.sum())
        waiting = float((durations - shortest).sum()) / len(self.members)
        reason = None
        if self.matched.dropped:
            reason = (
                f"{self.matched.dropped} runs at the edges of some traces have no partner on all "
                "ranks and are left out of transfer and waiting."
            )
        return transfer / 1e9, waiting / 1e9, self._late_rank(durations), reason

    def _late_rank(self, durations: Nanoseconds) -> int | None:
        """The rank that most often came last; None where nobody waited or clocks are unknown."""
        assert self.matched is not None
        offsets = [self.alignment.offsets_ns[each.clock] for each in self.members]
        someone_waited = (durations.max(axis=0) > durations.min(axis=0)).any()
        if None in offsets or not someone_waited:
            return None
        starts = self.matched.starts - np.array(offsets, np.int64)[:, None]
        last = np.bincount(starts.argmax(axis=0), minlength=len(self.members))
        return self.members[int(last.argmax())].number


def _add_copies(matrix: Matrix, traces: Sequence[Trace], *, by_rank: bool) -> None:
    """Count the copies of all traces, between devices or between the ranks that use them."""
    if not by_rank:
        for trace in traces:
            matrix.add_copies(trace, lambda device: device)
        return
    numbers = rank_numbers(traces)
    users = _users(traces, numbers)
    for number, trace in zip(numbers, traces, strict=True):
        matrix.add_copies(trace, partial(_rank_of, users, number, trace.host))


_Users = dict[tuple[str | None, int], set[int]]  # ranks that use a device of a host


def _users(traces: Sequence[Trace], numbers: Sequence[int]) -> _Users:
    users: _Users = {}
    for number, trace in zip(numbers, traces, strict=True):
        for device in trace.device_numbers:
            users.setdefault((trace.host, device), set()).add(number)
    return users


def _rank_of(users: _Users, own: int, host: str | None, device: int) -> int | None:
    """The rank that uses a device: the trace's own where it does, else the only other one."""
    of_device = users.get((host, device), set())
    if own in of_device:
        return own
    return next(iter(of_device)) if len(of_device) == 1 else None
