"""How long a new user waits: to the first figure, to each rung, and to the end of a climb.

    python benchmarks/first_minute.py                       # the bundled model, cold and then warm
    python benchmarks/first_minute.py path/to/model --prompt-len 256 --new-tokens 128

Cold: with an empty cache, so that kernels are built, ceilings and rates measured, graphs compiled.
Seconds are from the command to each of its lines; measure on a quiet machine. Prints them and
writes `benchmarks/results/first-minute-<model>-<date>.json`.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Climb twice with one new cache; print and write when each line came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="pycode-7m")
    arguments, options = parser.parse_known_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "TOPOUT_CACHE": f"{folder}/cache",
            "TOPOUT_HOME": f"{folder}/runs",
        }
        for which in ("cold", "warm"):
            found[which] = climb([arguments.model, *options], environment)
            print(f"{which}: {len(found[which]) - 1} lines")
            for at_s, line in found[which]:
                print(f"  {at_s:7.1f} s  {line[:100]}")
    name = Path(arguments.model).name
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    record = {"model": arguments.model, "options": options, "date": date, "lines": found}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"first-minute-{name}-{date}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def climb(arguments: list[str], environment: dict[str, str]) -> list[tuple[float, str]]:
    """(seconds, line) of all that a climb announces, and its end."""
    began = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, "-m", "topout", "climb", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stderr is not None
    lines = [(time.monotonic() - began, line.rstrip()) for line in program.stderr]
    status = program.wait()
    return [*lines, (time.monotonic() - began, f"exit status {status}")]


if __name__ == "__main__":
    main()
