"""`python -m topout.launch.agent FAILURES.json ARGUMENTS…`: torchrun, watched over.

It ends with the process that started it, and writes down which ranks failed. The
ranks' own output goes where ARGUMENTS say; this process's own says what torchrun did.
"""

import signal
import sys
from pathlib import Path

import msgspec

from topout.measure.lifetime import end_with_parent


class RankEnd(msgspec.Struct, frozen=True):
    """A rank that failed, and how its process ended; ranks that torchrun ended are among them."""

    rank: int
    exit_status: int  # negative: the number of the signal


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
