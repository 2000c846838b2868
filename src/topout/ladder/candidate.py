"""One stack of rungs in a worker process, as the ladder sees it."""

from pathlib import Path

from topout.generation.session_process import SessionProcess
from topout.rungs.registry import BASELINE

WORKER_MODULE = "topout.ladder.worker"


def label_of(stack: list[str]) -> str:
    """How a stack is called in results: its rungs joined, the baseline where there is none."""
    return " + ".join(stack) if stack else BASELINE


class Candidate(SessionProcess):
    """A prepared stack that can be verified and timed; use as a context manager."""

    def __init__(self, stack: list[str], log: Path, threads: int, timeout_s: float) -> None:
        super().__init__(WORKER_MODULE, log, threads, timeout_s)
        self.stack = stack
        self.label = label_of(stack)
        self.reference: Path | None = None  # what it says itself, where others are held to that
