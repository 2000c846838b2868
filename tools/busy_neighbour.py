"""Runs a command beside a busy neighbour: every CPU and most of the free memory are in use.

`python tools/busy_neighbour.py make test` ends with the exit status of `make test`. One process per
CPU copies its share of the memory to and fro until the command has ended.
"""

import multiprocessing
import os
import subprocess
import sys

import psutil

HELD_SHARE = 0.6  # of the memory that is free at the beginning


def keep_busy(held_bytes: int, parent: int) -> None:
    """Copy half of `held_bytes` over the other half, again and again, as long as `parent` lives."""
    half = memoryview(bytearray(held_bytes // 2))
    other = memoryview(bytearray(b"\1") * (held_bytes // 2))
    while os.getppid() == parent:
        half[:] = other
        half, other = other, half


def main(command: list[str]) -> int:
    """The exit status of the command."""
    cpus = os.cpu_count() or 1
    held_bytes = int(HELD_SHARE * psutil.virtual_memory().available / cpus)
    neighbours = [
        multiprocessing.get_context("spawn").Process(
            target=keep_busy, args=(held_bytes, os.getpid()), daemon=True
        )
        for _ in range(cpus)
    ]
    for each in neighbours:
        each.start()
    print(f"{cpus} processes keep {cpus * held_bytes / 2**30:.1f} GiB busy", file=sys.stderr)
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        for each in neighbours:
            each.kill()
            each.join()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python tools/busy_neighbour.py COMMAND …")
    sys.exit(main(sys.argv[1:]))
