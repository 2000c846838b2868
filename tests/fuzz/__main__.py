"""`make fuzz`: 20,000 corrupted inputs, a few hundred of them through the command line, and
10,000 traces with damaged times."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.cases import case_of
from tests.fuzz.command_line import run_commands
from tests.fuzz.harness import Findings, run_cases


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="how many; default: 20,000")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--commands", type=int, default=200, help="of them through the command")
    parser.add_argument("--clocks", type=int, default=10_000, help="traces with damaged times")
    parser.add_argument("--only", type=int, help="run this one here, with its traceback")
    parser.add_argument("--keep", type=Path, help="with --only: write its files there")
    asked = parser.parse_args()
    if asked.only is not None:
        return _only(asked.only, asked.keep)
    numbers = range(asked.first, asked.first + asked.cases)
    findings = run_cases(numbers, quiet=False)
    if asked.commands:
        step = max(1, asked.cases // asked.commands) | 1  # odd, so that every target comes up
        run_commands(numbers[::step], findings)
    print("\n".join(findings.lines()))  # noqa: T201
    clocks = Findings()
    if asked.clocks:
        clocks = run_cases(range(asked.clocks), "tests.fuzz.clocks:TARGETS", quiet=False)
        print("\n".join(["Damaged times:", *clocks.lines()]))  # noqa: T201
    return 0 if findings.is_clean and clocks.is_clean else 1


def _only(number: int, keep: Path | None) -> int:
    case = case_of(number)
    print(case.what)  # noqa: T201
    if keep is not None:
        case.write(keep)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        print(case.target.ask(case.write(Path(folder) / "case")))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
