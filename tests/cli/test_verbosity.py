"""`-v` and `-q`: what is told beside the results, and that the results are the same."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from topout.cli.verbosity import telling
from topout.kernels.build import build_library
from topout.measure.worker import Worker, WorkerFailure
from topout.progress import log_new_lines

GEMM = ("gemm", "--shape", "8x8x8", "--versions", "naive", "--no-rivals", "--no-explain", "--quick")


def _told(
    more: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> tuple[str, str]:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))
    status, out, err = run([*GEMM, "--threads", "1", *more], monkeypatch, capsys)
    assert status == 0
    return out, err


def test_verbose_tells_what_is_measured_kept_and_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, err = _told(["-v"], monkeypatch, capsys, tmp_path)
    lines = err.splitlines()
    assert any(line.startswith("topout.machine.kept: ceilings of ") for line in lines)
    assert any(line.startswith("topout.kernels.build: gemm-naive-fp32 ") for line in lines)
    assert any("runs topout.gemm.worker, its log is " in line for line in lines)
    checking = [line for line in lines if line.endswith(" checking naive")]
    assert len(checking) == 1 and checking[0].startswith("topout.progress: ")
    assert lines[-1].startswith("Page: ") and "naive" in out
    assert logging.getLogger("topout").handlers == []


def test_quiet_tells_nothing_but_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, err = _told(["-q"], monkeypatch, capsys, tmp_path)
    assert err == "" and "naive" in out
    assert list(tmp_path.glob("*/run.json"))  # it is kept as ever


def test_without_either_the_places_alone_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, err = _told([], monkeypatch, capsys, tmp_path)
    assert err.startswith("Page: ") and len(err.splitlines()) == 1


def test_errors_are_told_to_the_quiet_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "gpt3" in refused(["cost", "gpt3", "-q"], monkeypatch, capsys)
    line = refused(["cost", "-q", "-v"], monkeypatch, capsys)
    assert "--quiet and --verbose contradict each other" in line


def test_a_bar_is_for_neither(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal as elsewhere."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with telling(quiet=True, verbose=False) as notify:
        notify("measuring", 0.5)
        notify.announce("a rung was kept")
    assert capsys.readouterr().err == ""
    with telling(quiet=False, verbose=True) as notify:
        for done in (0.5, 0.6):
            notify("measuring", done)
        notify.announce("a rung was kept")
    assert capsys.readouterr().err == "topout.progress:  50 % measuring\na rung was kept\n"


def test_what_a_worker_writes_is_told_even_of_one_that_dies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "topout")
    log = tmp_path / "versions.log"
    log.write_text("of another worker\n")
    with (
        Worker("tests.measure.no_such_program", log, environment={}) as worker,
        pytest.raises(WorkerFailure),
    ):
        worker.call("anything", 60.0)
    assert any("versions: " in line and "No module named" in line for line in caplog.messages)
    assert not any("of another worker" in line for line in caplog.messages)


def test_lines_are_told_once_and_only_where_somebody_listens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, logger = tmp_path / "rank-0.log", logging.getLogger("topout.test")
    log.write_bytes("naïve\n".encode())
    caplog.set_level(logging.WARNING, "topout")
    assert log_new_lines(logger, log, 0) == 0 and not caplog.messages
    caplog.set_level(logging.INFO, "topout")
    end = log_new_lines(logger, log, 0)
    assert end == 7  # ï is two bytes
    log.write_bytes(log.read_bytes() + b"two\xff\n")
    log_new_lines(logger, log, end)
    assert caplog.messages == ["rank-0: naïve", "rank-0: two\ufffd"]
    assert log_new_lines(logger, tmp_path / "none", 5) == 5


def test_a_compilation_and_its_reuse_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "topout")
    source = tmp_path / "told.cpp"
    source.write_text(f'extern "C" int told() {{ return 7; }}  // {tmp_path}\n')
    first, again = build_library("told", [source]), build_library("told", [source])
    assert first == again
    assert "told is compiled by" in caplog.messages[0]
    assert f"told was compiled before: {first}" in caplog.messages[-1]
