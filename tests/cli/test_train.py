"""`topout train` as a user types it."""

import functools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.cli.command_line import refused, run
from topout.records import TrainReport, decode
from topout.verbs import train_model as verb

pytestmark = pytest.mark.seconds(40)

REPOSITORY = Path(__file__).parents[2]
SMALL = [
    *("train", "pycode-1m", "--generated", "--task", "classify", "--batch-size", "2"),
    *("--sequence-len", "8", "--threads", "1"),
]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "80")


def test_a_table_a_page_and_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, record = tmp_path / "page.html", tmp_path / "record.json"
    arguments = [*SMALL, "--quick", "--report", str(page), "--json", str(record)]
    status, out, error = run(arguments, monkeypatch, capsys)
    assert status == 0
    table = out.split("Traces of the profiled steps")[0]
    assert "1 rank" in table and max(map(len, table.splitlines())) <= 80
    assert decode(record.read_bytes(), TrainReport).cases[0].status == "done"
    (folder,) = (tmp_path / "runs").iterdir()
    assert page.read_text() == (folder / "report.html").read_text()
    assert str(page) in error and "topout trace" in out


def test_a_rank_that_fails_is_told_in_one_line_with_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = functools.partial(verb.train_model, builder="tests.train.tiny_network:build_failing")
    monkeypatch.setattr(verb, "train_model", failing)
    status, out, error = run([*SMALL, "--ranks", "2", "--json", "-"], monkeypatch, capsys)
    assert status == 1
    assert json.loads(out)["cases"][0]["status"] == "failed"
    assert "topout: rank 1 ended with exit status 1." in error
    assert "ArithmeticError: the sky is falling on rank 1" in error.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "pycode-1m"], "neither was given"),
        ([*SMALL, "--ranks", "one"], "--ranks 'one'"),
        ([*SMALL, "--steps", "2"], "--steps 2"),
        ([*SMALL, "--device", "cuda", "--ranks", "64"], "--device cuda"),
        (["train", "pycode-1m", "--data", "rows.pkl"], "rows.pkl"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert words in refused(arguments, monkeypatch, capsys)


def _fewest_lines(runs: Path) -> int:
    """Lines that the rank with the fewest has written so far."""
    files = list(runs.glob("*/scratch/*/rank-?.jsonl"))
    lines = [len(file.read_bytes().splitlines()) for file in files]
    return min(lines) if len(lines) == 2 else 0


def test_ctrl_c_ends_the_program_and_its_ranks_and_keeps_what_was_done(tmp_path: Path) -> None:
    """As a terminal does it: the signal comes while ranks run."""
    arguments = [*SMALL, "--ranks", "2", "--steps", "100000000"]
    program = subprocess.Popen(
        [sys.executable, "-m", "topout", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    own = psutil.Process(program.pid)
    deadline = time.monotonic() + 600  # ranks import torch, and the machine may be busy
    # Warmed up, and some steps are done.
    while _fewest_lines(tmp_path / "runs") < 10:
        assert program.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    started = own.children(recursive=True)
    assert len(started) >= 3  # torchrun and two ranks
    program.send_signal(signal.SIGINT)
    _, error = program.communicate(timeout=600)
    assert program.returncode == 130 and "interrupted" in error
    (record,) = (tmp_path / "runs").glob("*/run.json")
    (case,) = decode(record.read_bytes(), TrainReport).cases
    assert case.status == "interrupted" and case.steps[0]
    psutil.wait_procs(started, timeout=600)
    assert not any(each.is_running() for each in started)
