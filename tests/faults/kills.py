"""Kills a command, or a process of it, at random moments, and looks at what is left.

    python -m tests.faults.kills 200        # `make kills`

Of a climb that is killed (SIGKILL) no process may be left, nothing in the folder of temporary files
or in shared memory, and every rung that was announced has to be on disk; resumed, it goes on behind
it. Where one of its workers is killed instead, the climb ends by itself, with the others' rungs.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.models.tiny import GPT2, make_source
from topout.records import Climb, read

RUNGS = ("static_cache", "speculate_lookup", "bf16", "quantize_weights_int8")
OPTIONS = [
    *("--rungs", ",".join(RUNGS), "--prompt-len", "8", "--new-tokens", "8", "--threads", "1"),
    *("--quick", "--time-per-rung", "0.2", "--max-loss", "5", "--accept-unproven"),
]
MARK = "TOPOUT_KILL_TEST"  # in the environment of all that one command starts
_GONE_S = 20.0  # until what is left counts as an orphan
_LONGEST_S = 300.0


@dataclass
class Found:
    """What one kill left, in words; nothing wrong where `faults` is empty."""

    victim: str
    after_s: float
    rungs: int  # on disk after it
    faults: list[str] = field(default_factory=list)


class Command:
    """A command under way in folders of its own, which can be told from all other processes."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.runs, self.temporary = folder / "runs", folder / "temporary"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {
            MARK: self.mark,
            "TOPOUT_HOME": str(self.runs),
            "TMPDIR": str(self.temporary),
        }
        self.shared_before = shared_memory()
        self.errors = folder / "errors.txt"
        with self.errors.open("wb") as errors:
            self.program = subprocess.Popen(
                [sys.executable, "-P", "-m", "topout", *arguments],
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def processes(self) -> list[int]:
        """All that run and were started by it, itself included."""
        sought = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and sought in _environment(entry):
                found.append(int(entry.name))
        return found

    def announced(self) -> list[str]:
        """The rungs that it has said to be finished, in their order."""
        lines = self.errors.read_text(errors="replace").splitlines()
        names = [line.split(": ")[0] for line in lines if ": kept" in line or ": rejected" in line]
        return [name for name in names if name in ("transformers_eager", *RUNGS)]

    def left_behind(self, patience_s: float = _GONE_S) -> list[str]:
        """What a command that has ended left, in words."""
        until = time.monotonic() + patience_s
        while (processes := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        faults = [f"process {each} is left" for each in processes]
        faults += [f"{each.name} is left" for each in self.temporary.iterdir()]
        faults += [f"/dev/shm/{each} is left" for each in shared_memory() - self.shared_before]
        return faults


def _environment(process: Path) -> bytes:
    """Of a process that still runs; nothing where it is gone or waits to be collected."""
    try:
        if process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return b""
        return process.joinpath("environ").read_bytes()
    except OSError:
        return b""


def shared_memory() -> set[str]:
    """Names in the folder of shared memory."""
    folder = Path("/dev/shm")
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()


def kill_at(model: Path, folder: Path, after_s: float, victim: str, chance: random.Random) -> Found:
    """Climb `model`, kill the climb or a child of it after so long, and look at what is left."""
    command = Command(["climb", str(model), *OPTIONS], folder)
    try:
        command.program.wait(after_s)
    except subprocess.TimeoutExpired:
        children = [each for each in command.processes() if each != command.program.pid]
        pid = command.program.pid if victim == "climb" or not children else chance.choice(children)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    command.program.wait(_LONGEST_S)
    found = Found(victim, after_s, 0, command.left_behind())
    records = sorted(command.runs.glob("*/run.json"))
    before = read(records[0], Climb) if records else None
    finished = [rung.name for rung in before.rungs] if before is not None else []
    found.rungs = len(finished)
    lost = [name for name in command.announced() if name not in finished]
    found.faults += [f"{name} was announced and is not on disk" for name in lost]
    if command.program.returncode != -signal.SIGKILL and before is not None:
        if victim == "child" and not before.finished and command.program.returncode == 0:
            found.faults.append("it ended with status 0, and is not finished")
        return found
    if before is not None:
        found.faults += _resumed(command, records[0].parent, before, folder)
    return found


def _resumed(command: Command, run: Path, before: Climb, folder: Path) -> list[str]:
    """Go on with a climb that was killed: it ends, and measures nothing again."""
    again = Command(["climb", "--resume", str(run)], folder / "resumed")
    status = again.program.wait(_LONGEST_S)
    faults = again.left_behind()
    if status != 0:
        last = again.errors.read_text(errors="replace").strip().splitlines()[-1:]
        return [*faults, f"resuming ended with status {status}: {last}"]
    after = read(run / "run.json", Climb)
    if not after.finished or [each.name for each in after.rungs][1:] != list(RUNGS):
        faults.append("the resumed climb is not finished")
    # The baseline runs again as the rival of later rungs, so its own figures may grow.
    if after.rungs[1 : len(before.rungs)] != before.rungs[1:]:
        faults.append("a finished rung was measured again")
    return faults


def main() -> None:
    """Kill so often as asked for; print what was found, and exit with 1 where anything is wrong."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    chance = random.Random(0)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        model = model_in(root)
        longest_s = _time_of(model, root / "whole")
        for number in range(count):
            victim = ("climb", "child")[number % 2]
            after_s = chance.uniform(0, longest_s)
            found = kill_at(model, root / str(number), after_s, victim, chance)
            wrong += bool(found.faults)
            shown = "; ".join(found.faults) or "as it should be"
            line = f"{number:4} {victim} at {after_s:5.1f} s, {found.rungs} rungs: {shown}"
            sys.stderr.write(f"{line}\n")
    sys.stderr.write(f"{wrong} of {count} kills left something wrong\n")
    raise SystemExit(wrong > 0)


def model_in(folder: Path) -> Path:
    """A tiny GPT-2 in a folder."""
    make_source(folder / "model", GPT2 | {"n_positions": 64})
    return folder / "model"


def _time_of(model: Path, folder: Path) -> float:
    """Seconds that the whole climb takes here, with everything compiled and measured before."""
    for _ in range(2):
        began = time.monotonic()
        command = Command(["climb", str(model), *OPTIONS], folder)
        assert command.program.wait(_LONGEST_S) == 0, command.errors.read_text()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
