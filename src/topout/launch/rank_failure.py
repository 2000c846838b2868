"""What is known of a rank that failed: how its process ended, and the end of its log."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from topout.launch.agent import RankEnd

LAST_LINES = 12
_LONGEST_LINE = 300
_READ_BYTES = 1 << 16  # from the end of a log


class RankFailure(Exception):  # noqa: N818 - it is an event that the caller handles, not a bug
    """A rank failed and the others were ended; `last_lines` are those of its log."""

    def __init__(self, rank: int | None, reason: str, log: Path, last_lines: list[str]) -> None:
        self.rank = rank  # None: torchrun itself failed
        self.reason = reason
        self.log = log
        self.last_lines = last_lines
        super().__init__(reason)


def first_failure(ends: Sequence[RankEnd], noted_ns: Mapping[int, int]) -> RankEnd | None:
    """The rank whose failure the others' follow from; `noted_ns` is when ranks said they failed.

    A rank that was killed or crashed had no time to say so, and the others failed when it was
    gone. One that aborted without a word most likely did so because another was gone. Those that
    torchrun ended (SIGTERM) come last.
    """

    def order(end: RankEnd) -> tuple[int, int]:
        if end.rank in noted_ns:
            return 1, noted_ns[end.rank]
        late = {-signal.SIGABRT: 2, -signal.SIGTERM: 3}
        return late.get(end.exit_status, 0), end.rank

    return min(ends, key=order, default=None)


def failure_of(first: RankEnd | None, logs: Mapping[int, Path], agent_log: Path) -> RankFailure:
    """The failure of the rank that was first, in one sentence without its full stop."""
    if first is None:
        return RankFailure(
            None, "torchrun could not run the ranks", agent_log, last_lines(agent_log)
        )
    log = logs.get(first.rank, agent_log)
    return RankFailure(
        first.rank, f"rank {first.rank} {how_ended(first.exit_status)}", log, last_lines(log)
    )


def how_ended(exit_status: int) -> str:
    """An exit status in words: "crashed with SIGSEGV", "ended with exit status 1"."""
    if exit_status == -signal.SIGKILL:
        return "was killed (SIGKILL), which is how the system ends a process for memory"
    if exit_status < 0:
        try:
            name = signal.Signals(-exit_status).name
        except ValueError:
            name = f"signal {-exit_status}"
        return f"crashed with {name}"
    return f"ended with exit status {exit_status}"


def last_lines(log: Path, most: int = LAST_LINES) -> list[str]:
    """The last lines with text of a log, long ones cut; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _READ_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return [line[:_LONGEST_LINE] for line in lines[-most:]]
