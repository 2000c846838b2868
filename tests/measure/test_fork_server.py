"""Workers out of a fork server behave as those that are started afresh, and die with it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.measure.test_worker import PROGRAM, TIMEOUT_S, failure_of, is_running, wait_until_gone
from topout.measure.fork_server import ForkServer
from topout.measure.worker import Worker

pytestmark = pytest.mark.skipif(not ForkServer.is_possible(), reason="it forks on Linux alone")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    with ForkServer(["fractions"], tmp_path / "server.log", environment={"SHARED": "7"}) as started:
        yield started


@pytest.fixture
def worker(server: ForkServer, tmp_path: Path) -> Iterator[Worker]:
    with Worker(PROGRAM, tmp_path / "worker.log", environment={}, server=server) as started:
        yield started


def test_it_answers_and_prints_to_its_own_log(worker: Worker, tmp_path: Path) -> None:
    assert worker.call("echo", TIMEOUT_S, x=[1, "ü"]) == {"x": [1, "ü"]}
    assert worker.call("shout", TIMEOUT_S) == "the truth"
    assert "a lie" in (tmp_path / "worker.log").read_text(errors="replace")
    assert worker.alive


def test_it_is_forked_and_has_what_the_server_imported(worker: Worker, server: ForkServer) -> None:
    """Its parent is the server, its environment the server's, its module ran as `__main__`."""
    found = worker.call("describe", TIMEOUT_S)
    assert found["parent"] == server.pid != os.getpid()
    assert found["group"] == worker.pid
    assert found["imported"] and found["shared"] == "7" and found["name"] == "__main__"


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("killed", "memory", "SIGKILL"),
        ("segfault", "crash", "SIGSEGV"),
        ("abort", "crash", "SIGABRT"),
        ("exit", "crash", "exit status 3"),
    ],
)
def test_an_end_without_an_answer_is_told_as_of_any_worker(
    worker: Worker, how: str, kind: str, words: str
) -> None:
    failure = failure_of(worker, "die", how=how)
    assert failure.kind == kind and words in failure.message
    assert not worker.alive


def test_one_that_dies_harms_no_other(server: ForkServer, tmp_path: Path) -> None:
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    with (
        Worker(PROGRAM, logs[0], environment={}, server=server) as first,
        Worker(PROGRAM, logs[1], environment={}, server=server) as second,
    ):
        failure_of(first, "die", how="segfault")
        assert second.call("echo", TIMEOUT_S, x=1) == {"x": 1}
        with Worker(PROGRAM, logs[0], environment={}, server=server) as third:
            assert third.call("echo", TIMEOUT_S, x=2) == {"x": 2}


def test_a_hang_is_ended_with_all_that_it_started(worker: Worker) -> None:
    started = worker.call("start", TIMEOUT_S)
    failure = failure_of(worker, "hang", timeout_s=0.2)
    assert failure.kind == "hang"
    for pid in (worker.pid, started):
        wait_until_gone(pid)


def test_workers_die_with_their_server(server: ForkServer, worker: Worker) -> None:
    assert worker.call("echo", TIMEOUT_S, x=1) == {"x": 1}
    os.kill(server.pid, signal.SIGKILL)
    wait_until_gone(worker.pid)
    assert failure_of(worker, "echo", x=1).kind == "memory"  # killed, by whomever


def test_without_its_server_a_worker_is_started_afresh(server: ForkServer, tmp_path: Path) -> None:
    os.kill(server.pid, signal.SIGKILL)
    with Worker(PROGRAM, tmp_path / "worker.log", environment={}, server=server) as worker:
        assert worker.call("describe", TIMEOUT_S)["parent"] == os.getpid()


def test_a_module_that_the_server_cannot_import_costs_a_fresh_start(tmp_path: Path) -> None:
    with (
        ForkServer(["no_such_module"], tmp_path / "server.log", environment={}) as server,
        Worker(PROGRAM, tmp_path / "worker.log", environment={}, server=server) as worker,
    ):
        assert worker.call("echo", TIMEOUT_S, x=1) == {"x": 1}
    assert "no_such_module" in (tmp_path / "server.log").read_text()


def test_close_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    server = ForkServer([], tmp_path / "server.log", environment={})
    worker = Worker(PROGRAM, tmp_path / "worker.log", environment={}, server=server)
    pid = worker.pid
    worker.close()
    worker.close()
    assert not is_running(pid)
    server.close()
    assert not is_running(server.pid)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_server_that_is_busy_importing_is_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        ForkServer(
            ["tests.measure.slow_to_import"], tmp_path / "server.log", environment={}
        ) as server,
        Worker(PROGRAM, tmp_path / "worker.log", environment={}, server=server) as worker,
    ):
        assert worker.call("describe", TIMEOUT_S)["parent"] == server.pid
    assert time.monotonic() - began >= 0.2
