"""Real worker processes, ended in every way that a process can end."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from topout.errors import InputError
from topout.measure.worker import Worker, WorkerFailure

PROGRAM = "tests.measure.worker_program"
TIMEOUT_S = 600.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def worker(log: Path) -> Iterator[Worker]:
    with Worker(PROGRAM, log, environment={}) as started:
        yield started


def failure_of(worker: Worker, method: str, timeout_s: float = TIMEOUT_S, **params: Any) -> Any:
    with pytest.raises(WorkerFailure) as caught:
        worker.call(method, timeout_s, **params)
    return caught.value


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 600
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_requests_are_answered_in_order(worker: Worker) -> None:
    for number in range(3):
        params = {"number": number, "text": "two\nlines ü", "nested": [1.5, None, {"a": True}]}
        assert worker.call("echo", TIMEOUT_S, **params) == params
    assert worker.alive


def test_a_reply_larger_than_a_pipe(worker: Worker) -> None:
    text = "x" * 300_000
    assert worker.call("echo", TIMEOUT_S, text=text) == {"text": text}


def test_what_it_does_is_told_before_the_answer(worker: Worker) -> None:
    told: list[str] = []
    assert worker.call("in_steps", TIMEOUT_S, on_work=told.append, steps=3) == "done"
    assert told == ["step 0", "step 1", "step 2"]
    assert worker.call("in_steps", TIMEOUT_S, steps=2) == "done"  # and nobody need listen
    assert worker.call("echo", TIMEOUT_S, x=1) == {"x": 1}


def test_what_is_printed_goes_to_the_log_and_not_into_the_reply(worker: Worker, log: Path) -> None:
    assert worker.call("shout", TIMEOUT_S) == "the truth"
    written = log.read_bytes()
    assert b"a lie" in written and b"another lie" in written and b"not even text" in written


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "hello",
        "\xff\x00\n",
        "{}\n",
        '{"number": 1}\n',
        '{"result": "a lie"}\n',
        '{"number": 1, "result": "a lie"}\n',
        '{"number": "1", "result": 1}\n',
        "[" * 100_000 + "\n",
    ],
    ids=lambda text: text[:20],
)
def test_what_else_is_written_into_the_pipe_is_no_reply(
    text: str, worker: Worker, log: Path
) -> None:
    failure = failure_of(worker, "scribble", text=text)
    assert failure.kind == "crash" and not worker.alive
    assert failure.message == "wrote something else into the pipe of its answers and was ended"


def test_a_pipe_that_is_written_to_without_an_end_takes_no_memory(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topout.measure.worker._LONGEST_REPLY_BYTES", 1 << 16)
    assert failure_of(worker, "scribble", text="x" * 100_000).kind == "crash"


def test_a_panic_is_an_error_and_the_worker_goes_on(worker: Worker) -> None:
    failure = failure_of(worker, "panic")
    assert failure.kind == "error"
    assert failure.message == "PanicException: range end index 2 out of range"
    assert worker.call("echo", TIMEOUT_S) == {}


def test_names_that_are_no_utf_8(worker: Worker) -> None:
    """One that comes back is spelled out; one that would be sent is refused."""
    assert worker.call("odd_bytes", TIMEOUT_S) == r"a\xff.log"
    with pytest.raises(InputError, match="is not UTF-8"):
        worker.call("echo", TIMEOUT_S, path=Path("a\udcff"))
    assert worker.call("echo", TIMEOUT_S, path=Path("a")) == {"path": "a"}


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("plain", "error", "RuntimeError: the first line the second line"),
        ("silent", "error", "ValueError"),
        ("input", "input", "--draft has other tokens. Give another."),
        ("memory", "memory", "MemoryError"),
        ("torch", "memory", "OutOfMemoryError: CUDA"),
        (
            "allocator",
            "memory",
            "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried",
        ),
    ],
)
def test_an_exception_is_an_answer(
    worker: Worker, log: Path, how: str, kind: str, message: str
) -> None:
    failure = failure_of(worker, "fail", how=how)
    assert (failure.kind, failure.message) == (kind, message)
    assert worker.call("echo", TIMEOUT_S, still="there") == {"still": "there"}
    assert ("Traceback" in log.read_text()) == (kind != "input")


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("killed", "memory", ["SIGKILL", "memory"]),
        ("segfault", "crash", ["SIGSEGV", "the last words before the end"]),
        ("abort", "crash", ["SIGABRT", "the last words before the end"]),
        ("exit", "crash", ["exit status 3", "the last words before the end"]),
        ("forked", "crash", ["exit status 3", "the last words before the end"]),
    ],
)
def test_an_end_without_an_answer(worker: Worker, how: str, kind: str, words: list[str]) -> None:
    failure = failure_of(worker, "die", how=how)
    assert failure.kind == kind
    for word in words:
        assert word in failure.message
    assert "\n" not in failure.message
    assert not worker.alive
    again = failure_of(worker, "echo")
    assert (again.kind, again.message) == ("crash", "has already ended")


def test_an_unknown_method_ends_the_worker_with_its_name(worker: Worker) -> None:
    failure = failure_of(worker, "no_such_method")
    assert failure.kind == "crash"
    assert "exit status 1" in failure.message and "no_such_method" in failure.message


def test_a_module_that_cannot_be_started(log: Path) -> None:
    with Worker("tests.measure.no_such_module", log, environment={}) as worker:
        failure = failure_of(worker, "echo")
    assert failure.kind == "crash"
    assert "no_such_module" in failure.message


def test_a_hang_is_ended_with_all_that_it_started(worker: Worker) -> None:
    grandchild = worker.call("start", TIMEOUT_S)
    failure = failure_of(worker, "hang", timeout_s=1.0)
    assert failure.kind == "hang"
    assert "'hang'" in failure.message and "1 s" in failure.message
    wait_until_gone(worker.pid)
    wait_until_gone(grandchild)


def test_a_slow_answer_in_time_is_no_hang(worker: Worker) -> None:
    assert worker.call("nap", TIMEOUT_S, seconds=1.2) == "rested"


def test_close_ends_the_child_and_may_be_called_again(log: Path) -> None:
    worker = Worker(PROGRAM, log, environment={})
    assert worker.call("echo", TIMEOUT_S) == {}
    worker.close()
    assert not is_running(worker.pid) and not worker.alive
    worker.close()
    assert failure_of(worker, "echo").kind == "crash"


def test_close_leaves_no_descriptor_open(log: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with Worker(PROGRAM, log, environment={}):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_child_ends_when_its_parent_is_killed(log: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from topout.measure.worker import Worker\n"
        f"worker = Worker({PROGRAM!r}, Path({str(log)!r}), environment={{}})\n"
        "worker.call('echo', 600.0)\n"
        "print(worker.pid, flush=True)\n"
        "worker.call('nap', 3600.0, seconds=3600.0)\n"
    )
    command = [sys.executable, "-c", program]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until_gone(child)
