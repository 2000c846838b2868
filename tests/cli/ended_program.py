"""The command line with a `climb` that finishes one thing, says so, and waits to be ended."""

import sys
import time
from pathlib import Path

from tests.report.example_climb import example_climb
from topout.cli import climb, dispatch
from topout.cli.outputs import PageOutputs, Result
from topout.ladder.request import ClimbRequest
from topout.progress import Progress
from topout.run_folder import Interrupted, RunFolder


def _answer(request: ClimbRequest, outputs: PageOutputs, progress: Progress) -> Result:
    try:
        progress("the first thing", 0.5)
        progress.announce("the first thing is done")
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        folder = RunFolder(Path(request.model))
        raise Interrupted(example_climb(), folder, "Go on with: topout again") from None


if __name__ == "__main__":
    climb.ANSWERS[""] = _answer
    sys.argv = ["topout", "climb", *sys.argv[1:]]
    dispatch.main()
