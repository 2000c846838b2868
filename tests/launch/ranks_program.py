"""Ranks for the tests: what each does is said on the command line. Imports nothing heavy."""

import os
import signal
import sys
import time

from topout.launch.lifetime import end_with_parent


def main(arguments: list[str]) -> None:
    end_with_parent()
    rank = int(os.environ["RANK"])
    folder = arguments[1]
    with open(os.path.join(folder, f"pid-{rank}"), "w") as file:
        file.write(str(os.getpid()))
    print(f"hello of rank {rank} of {os.environ['WORLD_SIZE']}", flush=True)
    match arguments[0], rank:
        case "well", _:
            return
        case "die", 1:
            print("the last words of rank 1", file=sys.stderr, flush=True)
            sys.exit(7)
        case "crash", 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        case _:
            time.sleep(120)


if __name__ == "__main__":
    main(sys.argv[1:])
