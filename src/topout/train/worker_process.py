"""`python -m topout.train.worker_process PLAN.json`: one rank, as torchrun starts it."""

import sys
import traceback
from pathlib import Path

import msgspec

from topout.launch.failure_notes import note_failure
from topout.measure.lifetime import end_with_parent


def main(arguments: list[str]) -> None:
    """Run this rank and end the process: 0 when it is done, 1 when not, with the fault told."""
    end_with_parent()
    import faulthandler

    faulthandler.enable()  # a crash shows where in its log
    from topout.errors import TopoutError
    from topout.train.distributed import Ranks, end_process
    from topout.train.plan import LineWriter, Plan, RankRefused
    from topout.train.rank import run_rank

    ranks = Ranks.from_environment()
    try:
        plan = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Plan)
        run_rank(plan, ranks)
    except TopoutError as error:
        note_failure()
        print(error, file=sys.stderr)  # noqa: T201
        LineWriter(Path(plan.output), ranks.rank).write(RankRefused(str(error)))
        end_process(1)
    except BaseException:
        note_failure()
        traceback.print_exc()
        end_process(1)
    end_process(0)


if __name__ == "__main__":
    main(sys.argv[1:])
