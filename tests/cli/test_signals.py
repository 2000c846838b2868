"""Ctrl-C, SIGTERM, SIGHUP and a terminal that is closed: what was finished is shown and kept."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from topout.cli.signals import Ending, as_interrupts

# The shell that runs the tests may have been started under nohup, and what it ignores is inherited.
pytestmark = pytest.mark.usefixtures("default_signals")
PROGRAM = [sys.executable, "-m", "tests.cli.ended_program"]
WAIT_S = 600.0
ENDING = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def default_signals() -> Iterator[None]:
    """No signal is ignored by this process, nor by those that it starts."""
    former = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_each_shows_and_writes_what_was_finished(
    number: signal.Signals, words: str, tmp_path: Path
) -> None:
    """The table, the page, the way to go on, and the status that the signal gives a program."""
    program = subprocess.Popen(
        [*PROGRAM, str(tmp_path), "--json", str(tmp_path / "out.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stderr is not None
    assert program.stderr.readline() == "the first thing is done\n"  # a plain line, no terminal
    program.send_signal(number)
    shown, said = program.communicate(timeout=WAIT_S)
    assert program.returncode == 128 + number
    assert said.startswith(f"topout: {words}. Go on with: topout again\n")
    assert "static_cache" in shown
    assert (tmp_path / "out.json").exists() and (tmp_path / "report.html").exists()


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """Under nohup a program outlives its terminal."""
    program = subprocess.Popen(
        ["nohup", *PROGRAM, str(tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stderr is not None
    while "first thing" not in program.stderr.readline():
        assert program.poll() is None
    program.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert program.poll() is None
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=WAIT_S)
    assert program.returncode == 143


def test_a_terminal_that_is_closed_loses_nothing(tmp_path: Path) -> None:
    """The shell's window goes away: nothing can be shown any more, and all is written."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*PROGRAM, str(tmp_path), "--json", str(tmp_path / "out.json")])
    seen = b""
    while b"the first thing is done" not in seen:
        ready, _, _ = select.select([terminal], [], [], WAIT_S)
        assert ready
        seen += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.WIFEXITED(status), status
    assert (tmp_path / "out.json").exists() and (tmp_path / "report.html").exists()


def test_a_second_signal_does_not_disturb_the_end() -> None:
    """Service managers send SIGHUP right after SIGTERM."""
    with as_interrupts() as ending:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert (ending.status, ending.words) == (143, "ended by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_without_a_signal_it_was_ctrl_c() -> None:
    assert (Ending().status, Ending().words) == (130, "interrupted")
