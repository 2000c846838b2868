"""When a rank failed, by its own word: the failures of others may only follow from it."""

import contextlib
import os
import time
from pathlib import Path

NOTES_VARIABLE = "TOPOUT_RANK_NOTES"  # the folder, in the environment of a rank


def note_failure() -> None:
    """Write down that this rank fails now, before the others can notice."""
    folder, rank = os.environ.get(NOTES_VARIABLE), os.environ.get("RANK")
    if folder is None or rank is None:
        return
    with contextlib.suppress(OSError):
        _note_file(Path(folder), int(rank)).write_text(str(time.monotonic_ns()))


def take_notes(folder: Path, ranks: int) -> dict[int, int]:
    """Nanoseconds at which ranks failed, on one clock; the notes are gone afterwards."""
    found = {}
    for rank in range(ranks):
        file = _note_file(folder, rank)
        with contextlib.suppress(OSError, ValueError):
            found[rank] = int(file.read_text())
            file.unlink()
    return found


def _note_file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.failed"
