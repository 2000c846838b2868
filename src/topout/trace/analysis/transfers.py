"""Who sends how much to whom: copies between host and devices, and the rings of collectives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from topout.records.trace import CollectiveTime, Transfer
from topout.trace.table import HOST_DEVICE, Trace

_Place = tuple[int, int]  # source and destination
_SINGLE_PEERS = frozenset({"send", "recv", "send_recv"})
_NOT_IN_RING = (
    "Collectives without a known size or without known ranks of their group, and sends to single "
    "peers, are not in the matrix."
)


@dataclass
class _Sent:
    """What went from one place to another so far."""

    bytes: int = 0
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

    def _add(self, place: _Place, sent_bytes: int, total_ns: float, calls: int) -> None:
        cell = self._cells.setdefault(place, _Sent())
        cell.bytes += sent_bytes
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
            pl.col("bytes").sum(),
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
