"""n ranks of a module on this machine: started by torchrun, ended together, their logs kept.

Of ranks that failed it tells which was first, how its process ended and the end of its log.
`python -m topout.launch.local FAILURES.json ARGUMENTS…` is torchrun, watched over: it ends with the
process that started it, and writes down which ranks failed. A rank that fails notes when: the
failures of others may only follow from it.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from topout.measure.process import end_with_parent, how_ended
from topout.programs import child_environment, python_command
from topout.progress import log_new_lines

_LOGGER = logging.getLogger(__name__)
_POLL_S = 0.05
_GRACE_S = 5.0  # for torchrun to end its ranks before they are ended from here
_LOOPBACK = "127.0.0.1"
LAST_LINES = 12
_LONGEST_LINE = 300
_READ_BYTES = 1 << 16  # from the end of a log
NOTES_VARIABLE = "TOPOUT_RANK_NOTES"  # the folder, in the environment of a rank
STORE_VARIABLE = "TOPOUT_RANK_STORE"  # a file by which ranks meet without listening on a port


class RankEnd(msgspec.Struct, frozen=True):
    """A rank that failed, and how its process ended; ranks that torchrun ended are among them."""

    rank: int
    exit_status: int  # negative: the number of the signal


def run_ranks(
    module: str,
    arguments: Sequence[str],
    *,
    ranks: int,
    logs: Path,
    environment: Mapping[str, str],
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Run `python -m MODULE ARGUMENTS…` as `ranks` processes and wait for all of them.

    They find RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in their environment, as
    under any torchrun, and in STORE_VARIABLE a file to meet by, in a folder of this user alone.
    `logs` gets a file per rank. `watch` is called often meanwhile. Raises RankFailure when a rank
    fails: the others have ended by then. Whatever is raised here or by `watch`, Ctrl-C included, no
    rank is left running.
    """
    logs.mkdir(parents=True, exist_ok=True)
    failure_file = logs / "failures.json"
    with tempfile.TemporaryDirectory(prefix="topout-ranks-") as folder:
        meeting = Path(folder).absolute()
        command = [
            *python_command("topout.launch.local", failure_file),
            # By --standalone it would take pickles from whoever reaches a port of this machine.
            *("--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-id", "ranks"),
            *("--rdzv-endpoint", str(meeting / "torchrun"), "--local-addr", _LOOPBACK),
            *("--nnodes", "1", "--nproc-per-node", str(ranks)),
            *("--redirects", "3", "--log-dir", str(logs), "--monitor-interval", "0.1"),
            *("--module", module, *arguments),
        ]
        own = {
            NOTES_VARIABLE: str(logs.absolute()),
            STORE_VARIABLE: str(meeting / "ranks"),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # nor does torchrun open a port for ranks
        }
        with (logs / "torchrun.log").open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment({**environment, **own}),
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the ranks
            )
        try:
            while process.poll() is None:
                watch()
                time.sleep(_POLL_S)
            watch()
        finally:
            end_process_tree(process)
    log_of_rank = gather_logs(logs)
    for log in (logs / "torchrun.log", *log_of_rank.values()):
        log_new_lines(_LOGGER, log, 0)
    ends, noted = _ends(failure_file), take_notes(logs, ranks)
    if process.returncode != 0:
        raise failure_of(first_failure(ends, noted), log_of_rank, logs / "torchrun.log")


def end_process_tree(process: "subprocess.Popen[bytes]") -> None:
    """End torchrun and its ranks, gently first; returns when none of them runs."""
    started = _descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    # Ranks are in sessions of their own, so that ending a process group would not reach them.
    started += [each for each in _descendants(process.pid) if each not in started]
    for each in started:
        with contextlib.suppress(psutil.Error):
            each.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
    psutil.wait_procs(started, timeout=_GRACE_S)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return children


def gather_logs(logs: Path) -> dict[int, Path]:
    """The ranks' logs as `rank-N.log` in `logs`, out of the folders that torchrun makes."""
    found, run_folders = {}, set()
    for error_log in sorted(logs.glob("*/attempt_0/*/stderr.log")):
        rank = int(error_log.parent.name)
        log = logs / f"rank-{rank}.log"
        parts = [error_log.with_name("stdout.log"), error_log]
        log.write_bytes(b"".join(part.read_bytes() for part in parts if part.is_file()))
        found[rank] = log
        run_folders.add(error_log.parents[2])
    for folder in run_folders:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
    return found


def _ends(file: Path) -> list[RankEnd]:
    """What torchrun said; nothing when it did not live to say it."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[RankEnd])
    except (OSError, msgspec.DecodeError):
        return []
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


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


def note_failure() -> None:
    """Write down that this rank fails now, before the others can notice."""
    folder, rank = os.environ.get(NOTES_VARIABLE), os.environ.get("RANK")
    if folder is None or rank is None:
        return
    with contextlib.suppress(OSError):
        _note_file(Path(folder), int(rank)).write_text(str(time.monotonic_ns()))


def take_notes(folder: Path, ranks: int) -> dict[int, int]:
    """Nanoseconds at which ranks failed, on one clock; the notes are gone afterwards."""
    found = {}
    for rank in range(ranks):
        file = _note_file(folder, rank)
        with contextlib.suppress(OSError, ValueError):
            found[rank] = int(file.read_text())
            file.unlink()
    return found


def _note_file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.failed"


def main(arguments: list[str]) -> int:
    """Run torchrun to its end; 0 when every rank ended well, else 1."""
    end_with_parent(signal.SIGTERM)  # torchrun answers it by ending the ranks
    # Imported here, since it imports torch: a parent that dies meanwhile is noticed.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    failure_file, *torchrun_arguments = arguments
    try:
        run(parse_args(torchrun_arguments))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        ends = [RankEnd(rank, failure.exitcode) for rank, failure in error.failures.items()]
        Path(failure_file).write_bytes(msgspec.json.encode(ends))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
