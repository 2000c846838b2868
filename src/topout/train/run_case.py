"""One case: its ranks are started, watched step by step, and their lines read at the end.

`python -m topout.train.run_case PLAN.json BUILDER` is one rank, as torchrun starts it. The builder
is code, and so it is given by who starts the rank: the file may be another's by then.
"""

import faulthandler
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import msgspec

from topout.errors import TopoutError, writing
from topout.launch.local import note_failure, run_ranks
from topout.measure.process import end_with_parent
from topout.progress import Notify
from topout.records.record import encode_exactly
from topout.train.plan import (
    Line,
    LineWriter,
    Plan,
    RankDone,
    RankRefused,
    StepDone,
    line_file,
    read_lines,
)
from topout.units import counted

RANK_MODULE = "topout.train.run_case"


def run_case(plan: Plan, ranks: int, logs: Path, notify: Notify) -> list[list[Line]]:
    """Run the ranks of `plan` to their end and return their lines, by rank.

    Raises RankFailure when one of them fails, KeyboardInterrupt as it comes; no rank runs on, and
    `lines_of` gives what had been told by then.
    """
    output = Path(plan.output)
    with writing(output):
        output.mkdir(parents=True)
        plan_file = output / "plan.json"
        plan_file.write_bytes(encode_exactly(plan))
    progress = _Progress(plan, ranks, notify)
    run_ranks(
        RANK_MODULE,
        [str(plan_file), plan.builder],
        ranks=ranks,
        logs=logs,
        environment=rank_environment(plan),
        watch=progress,
    )
    return lines_of(plan, ranks)


def lines_of(plan: Plan, ranks: int) -> list[list[Line]]:
    """What every rank has told so far."""
    return [read_lines(Path(plan.output), rank) for rank in range(ranks)]


def refusal_of(plan: Plan, ranks: int) -> str | None:
    """Which rank refused to go on, and why, in its own words; None where none did."""
    told = [(rank, line) for rank, lines in enumerate(lines_of(plan, ranks)) for line in lines]
    refusals = (
        f"rank {rank}: {line.message}" for rank, line in told if isinstance(line, RankRefused)
    )
    return next(refusals, None)


def rank_environment(plan: Plan) -> Mapping[str, str]:
    """What a rank finds in its environment."""
    return {
        "OMP_NUM_THREADS": str(plan.threads),
        "MKL_NUM_THREADS": str(plan.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # the parent has fetched what is to be fetched
        "GLOO_SOCKET_IFNAME": "lo",  # all ranks are on this machine
        "PYTHONUNBUFFERED": "1",
    }


class _Progress:
    """Tells how many steps the first rank has done, when that changed."""

    def __init__(self, plan: Plan, ranks: int, notify: Notify) -> None:
        self._plan = plan
        self._name = counted(ranks, "rank")
        self._notify = notify
        self._size = -1
        self._file = line_file(Path(plan.output), 0)
        notify(f"{self._name}: start", 0.0)

    def __call__(self) -> None:
        size = self._file.stat().st_size if self._file.exists() else 0
        if size == self._size:
            return
        self._size = size
        lines = read_lines(Path(self._plan.output), 0)
        done = sum(isinstance(line, StepDone) for line in lines)
        ends = any(isinstance(line, RankDone) for line in lines)
        what = "all steps done" if ends else f"step {done} of {self._plan.steps}"
        self._notify(f"{self._name}: {what}", done / self._plan.steps)


def main(arguments: list[str]) -> None:
    """Run this rank and end the process: 0 when it is done, 1 when not, with the fault told."""
    end_with_parent()
    faulthandler.enable()  # a crash shows where in its log
    # Imported here, since they import torch: a parent that dies meanwhile is noticed.
    from topout.train.distributed import Ranks, end_process
    from topout.train.rank import run_rank

    ranks = Ranks.from_environment()
    try:
        written = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Plan)
        plan = msgspec.structs.replace(written, builder=arguments[1])
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
