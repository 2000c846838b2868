"""Cases through the command itself: how it ends, and what it says on standard error."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.cases import Case, case_of
from tests.fuzz.harness import HANG_S, Findings

_ALLOWED = (0, 1, 2)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_STARTS_S = 60.0  # imports, on a machine that is busy


def run_commands(numbers: Sequence[int], findings: Findings) -> None:
    """Run each case of a target that has a command line, and add what was found."""
    with tempfile.TemporaryDirectory(prefix="topout-fuzz-") as place:
        for number in numbers:
            case = case_of(number)
            if case.target.line:
                _run(case, Path(place), findings)


def _run(case: Case, place: Path, findings: Findings) -> None:
    folder = case.write(place / str(case.number))
    names = {"folder": str(folder), "file": str(folder / case.damaged)}
    asked = [part.format(**names) for part in case.target.line.split()]
    environment = {**os.environ, "TOPOUT_HOME": str(place / "runs"), "COLUMNS": "100"}
    findings.cases += 1
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "topout", *asked],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=HANG_S + _STARTS_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        findings.hangs.append(case.number)
        findings.what[case.number] = f"{case.what} ({case.target.line})"
        return
    said = ended.stderr.decode(errors="replace")
    findings.what[case.number] = f"{case.what} ({case.target.line})"
    if ended.returncode not in _ALLOWED:
        findings.statuses[f"{ended.returncode} of case {case.number}: {said[-200:]!r}"] += 1
    if "Traceback" in said:
        last = said.strip().splitlines()[-1][:150]
        findings.tracebacks.setdefault(f"command line: {last}", []).append(case.number)
    if _CONTROL.search(said) or _CONTROL.search(ended.stdout.decode(errors="replace")):
        findings.control.append(case.number)
