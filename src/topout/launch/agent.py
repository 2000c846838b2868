"""`python -m topout.launch.agent FAILURES.json ARGUMENTS…`: torchrun, watched over.

It ends with the process that started it, and writes down which ranks failed. The ranks' own output
goes where ARGUMENTS say; this process's own says what torchrun did. A rank that fails notes when:
the failures of others may only follow from it.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from topout.measure.lifetime import end_with_parent

NOTES_VARIABLE = "TOPOUT_RANK_NOTES"  # the folder, in the environment of a rank


class RankEnd(msgspec.Struct, frozen=True):
    """A rank that failed, and how its process ended; ranks that torchrun ended are among them."""

    rank: int
    exit_status: int  # negative: the number of the signal


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


def main(arguments: list[str]) -> int:
    """Run torchrun to its end; 0 when every rank ended well, else 1."""
    end_with_parent(signal.SIGTERM)  # torchrun answers it by ending the ranks
    # Imported here, since it imports torch: a parent that dies meanwhile is noticed.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    failure_file, *torchrun_arguments = arguments
    try:
        run(parse_args(torchrun_arguments))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        ends = [RankEnd(rank, failure.exitcode) for rank, failure in error.failures.items()]
        Path(failure_file).write_bytes(msgspec.json.encode(ends))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
