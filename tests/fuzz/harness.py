"""Watches a process that runs cases, and counts what must not be: the figures of `make fuzz`."""

import json
import os
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.cases import case_of, targets_of

HANG_S = 20.0
PEAK_BYTES = 1 << 30
_STARTS_S = 120.0  # imports, on a machine that is busy


@dataclass
class Findings:
    """What became of the cases; a fault is told once for each place, with its cases."""

    cases: int = 0
    tracebacks: dict[str, list[int]] = field(default_factory=dict)
    hangs: list[int] = field(default_factory=list)
    crashes: list[int] = field(default_factory=list)
    large: list[int] = field(default_factory=list)
    control: list[int] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)  # of the command line, undocumented
    peak_bytes: int = 0
    what: dict[int, str] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        found = (self.tracebacks, self.hangs, self.crashes, self.large, self.control)
        return not any(found) and not self.statuses

    def lines(self) -> list[str]:
        """The report."""
        count = sum(map(len, self.tracebacks.values()))
        lines = [
            f"{self.cases} corrupted inputs: {count} tracebacks at {len(self.tracebacks)} places, "
            f"{len(self.hangs)} hangs, {len(self.crashes)} crashes, {len(self.large)} beyond "
            f"{PEAK_BYTES >> 20} MiB, {len(self.control)} with control characters, "
            f"{sum(self.statuses.values())} undocumented exit statuses; "
            f"peak {self.peak_bytes / 2**20:.0f} MiB",
        ]
        for place, numbers in sorted(self.tracebacks.items(), key=lambda each: -len(each[1])):
            lines.append(f"  {len(numbers):5} × {place}: {self._told(numbers)}")
        named = {"hang": self.hangs, "crash": self.crashes, "large": self.large}
        for name, numbers in (named | {"control": self.control}).items():
            lines += [f"  {name}: {number} {self.what.get(number, '')}" for number in numbers[:10]]
        lines += [f"  status: {count} × {what}" for what, count in self.statuses.items()]
        return lines

    def _told(self, numbers: list[int]) -> str:
        return f"cases {', '.join(map(str, numbers[:3]))} ({self.what.get(numbers[0], '')})"

    def add(self, told: dict[str, Any]) -> None:
        """Take what a worker told of a case."""
        number, peak = told["number"], told["peak_bytes"]
        self.cases += 1
        self.peak_bytes = max(self.peak_bytes, peak)
        if told["fault"]:
            self.tracebacks.setdefault(told["fault"], []).append(number)
        if peak > PEAK_BYTES:
            self.large.append(number)
        if "control" in told:
            self.control.append(number)
        if told["fault"] or peak > PEAK_BYTES or "control" in told:
            self.what[number] = told["what"]


def run_cases(
    numbers: Sequence[int], targets: str = "", hang_s: float = HANG_S, quiet: bool = True
) -> Findings:
    """Run the cases of a range of numbers in processes that may hang or die.

    `targets` is MODULE:NAME of other targets than those of `tests.fuzz.targets`.
    """
    findings = Findings()
    rest = range(numbers[0], numbers[-1] + 1, _step_of(numbers))
    while rest:
        stopped = _watch(rest, targets, hang_s, findings, quiet)
        if stopped is None:
            break
        if not quiet:
            print(f"stopped at {stopped}: {findings.what[stopped]}", flush=True)  # noqa: T201
        rest = range(stopped + rest.step, rest.stop, rest.step)
    return findings


def _step_of(numbers: Sequence[int]) -> int:
    return numbers[1] - numbers[0] if len(numbers) > 1 else 1


def _watch(rest: range, targets: str, hang_s: float, findings: Findings, quiet: bool) -> int | None:
    """The case at which a process hung or died; None when all are done."""
    asked = [sys.executable, "-m", "tests.fuzz.worker", str(rest.start), str(rest.stop)]
    asked += [str(rest.step), *([targets] if targets else [])]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        lines = _Lines(process.stdout.fileno())
        current = rest.start
        begun = False
        try:
            while (line := lines.next(hang_s if begun else _STARTS_S)) is not None:
                told = json.loads(line)
                if "begins" in told:
                    current, begun = told["begins"], True
                    continue
                findings.add(told)
                if not quiet and findings.cases % 500 == 0:
                    print(findings.lines()[0], flush=True)  # noqa: T201
        except TimeoutError:
            process.kill()
            if not begun:
                raise
            findings.cases += 1
            findings.hangs.append(current)
            findings.what[current] = _what(current, targets)
            return current
    if not begun:
        raise RuntimeError(f"no case began: {' '.join(asked)}")
    if process.returncode != 0:
        findings.cases += 1
        findings.crashes.append(current)
        findings.what[current] = f"{_what(current, targets)} (exit status {process.returncode})"
        return current
    return None


def _what(number: int, targets: str) -> str:
    return case_of(number, targets_of(targets)).what


class _Lines:
    """Lines of a pipe, each waited for no longer than asked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)

    def next(self, within_s: float) -> bytes | None:
        """The next line; None at the end, TimeoutError when it does not come."""
        while b"\n" not in self._pending:
            if not self._selector.select(within_s):
                raise TimeoutError
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                return None
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line
