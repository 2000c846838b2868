"""How much memory the traces that are read together may take, and the refusal where they need more.

Compressed rows may be a thousand times larger than their file, and a row of a summary stands for as
many events as it says: so what is held is counted while a file is read, and the file ends there.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from topout import units
from topout.errors import InputError

EVENT_BYTES = 512  # columns of the scan and of the table beside each other, at their peak
TEXT_FACTOR = 4  # a distinct string as it was scanned, as Python holds it, and in the table
_SHARE_OF_FREE = 0.5
Hold = Callable[[int, float], None]  # bytes that a file's events take so far, share that is read


class MemoryNeededError(InputError):
    """More memory is needed than may be taken; the whole reading ends, not that of one file."""


class MemoryBudget:
    """The bytes that the events of all files together may take; by default half of what is free."""

    def __init__(self, most_bytes: int | None = None) -> None:
        if most_bytes is None:
            import psutil

            most_bytes = int(psutil.virtual_memory().available * _SHARE_OF_FREE)
        self.most_bytes = most_bytes
        self._held: dict[Path, int] = {}
        self._needed: dict[Path, float] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> Hold:
        """What the reader of a file calls; raises InputError that says how much is missing."""

        def hold(held_bytes: int, fraction: float) -> None:
            with self._lock:
                self._held[path] = held_bytes
                self._needed[path] = held_bytes / max(fraction, 1e-9)
                if sum(self._held.values()) > self.most_bytes:
                    raise self._refusal(path)

        return hold

    def _refusal(self, path: Path) -> MemoryNeededError:
        needed = sum(self._needed.values())
        others = len(self._held) - 1
        who = f"{path} and {others} more need" if others else f"{path} needs"
        return MemoryNeededError(
            f"{who} about {units.memory(needed)} of memory for events, and "
            f"{units.memory(self.most_bytes)} may be taken: "
            f"{units.memory(needed - self.most_bytes)} more.",
            "Raise --max-memory, read fewer ranks at once, or record a shorter trace.",
        )


def unlimited(held_bytes: int, fraction: float) -> None:
    """For what is known to be small."""
