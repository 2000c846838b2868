"""Ranks on this machine: they end together, whoever ends first, and leave nothing behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from topout.launch.local import run_ranks
from topout.launch.rank_failure import RankFailure

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
