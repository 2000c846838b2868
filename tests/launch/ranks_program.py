"""Ranks for the tests: what each does is said on the command line. Imports nothing heavy."""

import os
import signal
import sys
import time
from pathlib import Path

from topout.measure.process import end_with_parent


def main(arguments: list[str]) -> None:
    end_with_parent()
    rank = int(os.environ["RANK"])
    (Path(arguments[1]) / f"pid-{rank}").write_text(str(os.getpid()))
    sys.stdout.write(f"hello of rank {rank} of {os.environ['WORLD_SIZE']}\n")
    sys.stdout.flush()
    match arguments[0], rank:
        case "well", _:
            return
        case "die", 1:
            sys.stderr.write("the last words of rank 1\n")
            sys.exit(7)
        case "crash", 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        case _:
            time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])
