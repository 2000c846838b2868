"""Who copied how much to whom: host to device, device to host, device to device."""

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from topout.trace.table import HOST_DEVICE, Trace

Place = tuple[int, int]  # source and destination


@dataclass
class Sent:
    """What went from one place to another so far."""

    bytes: int = 0
    total_ns: float = 0.0
    calls: int = 0

    def add(self, more_bytes: int, total_ns: float, calls: int) -> None:
        """Count more of it."""
        self.bytes += more_bytes
        self.total_ns += total_ns
        self.calls += calls


@dataclass
class Matrix:
    """What each place sent to each other, and what could not be placed."""

    cells: dict[Place, Sent] = field(default_factory=dict)
    unplaced: int = 0  # copies whose ends the trace does not say
    without_bytes: int = 0

    def add(self, place: Place, sent_bytes: int, total_ns: float, calls: int) -> None:
        """Count one more amount from `place[0]` to `place[1]`."""
        self.cells.setdefault(place, Sent()).add(sent_bytes, total_ns, calls)


def add_copies(matrix: Matrix, trace: Trace, number_of: Callable[[int], int | None]) -> None:
    """Count the copies of `trace`; `number_of` gives a device's number in the matrix, or None.

    A copy within one device stands on the diagonal: it uses that device's memory, and no link.
    """
    copies = (
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
    for row in copies.iter_rows(named=True):
        place = _ends(row["device"], row["copy_kind"], row["from_device"], row["to_device"])
        numbered = None if place is None else _numbered(place, number_of)
        if numbered is None:
            matrix.unplaced += row["calls"]
            continue
        matrix.without_bytes += row["without_bytes"]
        matrix.add(numbered, row["bytes"], row["duration_ns"], row["calls"])


def _ends(
    device: int | None, kind: str | None, source: int | None, destination: int | None
) -> Place | None:
    """Source and destination as devices of the trace; None where they cannot be known."""
    if source is not None and destination is not None:
        return source, destination
    if kind == "HtoH":
        return HOST_DEVICE, HOST_DEVICE
    if device is None or device == HOST_DEVICE:
        return None
    ends = {"HtoD": (HOST_DEVICE, device), "DtoH": (device, HOST_DEVICE), "DtoD": (device, device)}
    return ends.get(kind or "")


def _numbered(place: Place, number_of: Callable[[int], int | None]) -> Place | None:
    source, destination = (
        HOST_DEVICE if device == HOST_DEVICE else number_of(device) for device in place
    )
    return None if source is None or destination is None else (source, destination)
