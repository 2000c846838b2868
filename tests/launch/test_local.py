"""Ranks on this machine: they end together, whoever ends first, and leave nothing behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from topout.launch.local import (
    NOTES_VARIABLE,
    RankEnd,
    RankFailure,
    failure_of,
    first_failure,
    last_lines,
    note_failure,
    run_ranks,
    take_notes,
)

MODULE = "tests.launch.ranks_program"
REPOSITORY = Path(__file__).parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def run(what: str, folder: Path, ranks: int = 2, watch: Callable[[], None] = lambda: None) -> None:
    run_ranks(
        MODULE,
        [what, str(folder)],
        ranks=ranks,
        logs=folder / "logs",
        environment=ONE_THREAD,
        watch=watch,
    )


def pids(folder: Path) -> list[int]:
    return [int(file.read_text() or 0) for file in folder.glob("pid-*")]


def assert_all_gone(folder: Path) -> None:
    """No rank runs, and none is left as a zombie of this process."""
    found = pids(folder)
    assert len(found) == 2
    deadline = time.monotonic() + 600
    while any(map(psutil.pid_exists, found)) and time.monotonic() < deadline:
        time.sleep(0.02)  # the system's first process takes in what an agent left
    assert not any(map(psutil.pid_exists, found))
    assert not psutil.Process().children(recursive=True)


def test_nobody_else_can_reach_the_ranks_or_what_starts_them(tmp_path: Path) -> None:
    """On a machine of many users, what listens on a port listens to all of them."""
    listening: list[object] = []

    def look() -> None:
        if len(pids(tmp_path)) < 2:
            return
        processes = psutil.Process().children(recursive=True)
        assert len(processes) >= 3  # torchrun and two ranks
        for process in processes:
            listening.extend(each for each in process.net_connections() if each.status == "LISTEN")
        raise StopIteration

    with pytest.raises(StopIteration):
        run("sleep", tmp_path, watch=look)
    assert listening == []


def test_ranks_run_and_their_logs_are_kept(tmp_path: Path) -> None:
    run("well", tmp_path)
    for rank in range(2):
        log = (tmp_path / "logs" / f"rank-{rank}.log").read_text()
        assert log == f"hello of rank {rank} of 2\n"
    assert_all_gone(tmp_path)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "rank-0.log",
        "rank-1.log",
        "torchrun.log",
    ]


def test_a_rank_that_dies_ends_the_others_and_its_log_is_at_hand(tmp_path: Path) -> None:
    with pytest.raises(RankFailure) as caught:
        run("die", tmp_path)
    assert caught.value.rank == 1
    assert caught.value.reason == "rank 1 ended with exit status 7"
    assert caught.value.log == tmp_path / "logs" / "rank-1.log"
    assert caught.value.last_lines == ["hello of rank 1 of 2", "the last words of rank 1"]
    assert_all_gone(tmp_path)


def test_a_rank_that_crashes_is_told_by_its_signal(tmp_path: Path) -> None:
    with pytest.raises(RankFailure, match="rank 1 crashed with SIGSEGV"):
        run("crash", tmp_path)
    assert_all_gone(tmp_path)


def test_ctrl_c_ends_every_rank(tmp_path: Path) -> None:
    def interrupt() -> None:
        if len(pids(tmp_path)) == 2 and all(pids(tmp_path)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("wait", tmp_path, watch=interrupt)
    assert_all_gone(tmp_path)


def test_ranks_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom tests.launch.test_local import run\n"
        f"run('wait', Path({str(tmp_path)!r}))\n"
    )
    program = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    deadline = time.monotonic() + 600
    while len(pids(tmp_path)) < 2 or not all(pids(tmp_path)):
        assert program.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert_all_gone(tmp_path)


def test_the_last_lines_are_those_with_text_and_long_ones_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d\n\n" % n for n in range(50)) + b"x" * 1000 + b"\n\xff\n")
    lines = last_lines(log, 3)
    assert lines == ["line 49", "x" * 300, "\ufffd"]
    assert last_lines(tmp_path / "none") == []


def test_without_a_rank_torchrun_itself_failed(tmp_path: Path) -> None:
    log = tmp_path / "torchrun.log"
    log.write_text("no such module\n")
    failure = failure_of(None, {}, log)
    assert failure.rank is None and failure.last_lines == ["no such module"]


def test_a_rank_without_a_log_is_told_by_torchruns(tmp_path: Path) -> None:
    log = tmp_path / "torchrun.log"
    log.write_text("nothing\n")
    failure = failure_of(RankEnd(rank=3, exit_status=1), {}, log)
    assert failure.rank == 3 and failure.log == log


@pytest.mark.parametrize(
    ("statuses", "noted_ns", "first"),
    [
        ({0: 1, 1: 1}, {0: 20, 1: 10}, 1),  # rank 0 failed because rank 1 was gone
        ({0: 1, 1: -9}, {0: 20}, 1),  # a rank that is killed says nothing
        ({0: -6, 1: 1}, {1: 10}, 1),  # the other's watchdog aborted it
        ({0: -15, 1: 7}, {}, 1),  # torchrun ended rank 0
        ({0: -15, 1: -6}, {}, 1),
        ({}, {}, None),
    ],
)
def test_the_first_failure_is_the_one_that_the_others_follow_from(
    statuses: dict[int, int], noted_ns: dict[int, int], first: int | None
) -> None:
    ends = [RankEnd(rank, status) for rank, status in statuses.items()]
    found = first_failure(ends, noted_ns)
    assert (found.rank if found is not None else None) == first


def test_a_note_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NOTES_VARIABLE, str(tmp_path))
    for rank in (2, 0):
        monkeypatch.setenv("RANK", str(rank))
        note_failure()
    noted = take_notes(tmp_path, 3)
    assert set(noted) == {0, 2} and noted[2] <= noted[0]
    assert take_notes(tmp_path, 3) == {} and list(tmp_path.iterdir()) == []


def test_a_rank_that_nobody_watches_notes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NOTES_VARIABLE, raising=False)
    note_failure()
