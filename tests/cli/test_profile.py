"""`topout profile` as a user types it."""

import gzip
import json
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from topout.records import ProfileReport, read

SMALL = ["profile", "pycode-1m", "--prompt-len", "12", "--new-tokens", "3", "--repeats", "1"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("topout.generation.subject.load_doubts", list)


def test_a_table_a_page_a_record_and_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, trace, record = tmp_path / "p.html", tmp_path / "t.json.gz", tmp_path / "r.json"
    arguments = [*SMALL, "--report", str(page), "--perfetto", str(trace), "--json", str(record)]
    status, out, error = run(
        [*arguments, "--tensorboard", str(tmp_path / "b")], monkeypatch, capsys
    )
    assert status == 0
    assert "addmm" in out and "(no operator)" in out and max(map(len, out.splitlines())) <= 80
    (folder,) = (tmp_path / "runs").iterdir()
    assert page.read_text() == (folder / "report.html").read_text() and str(page) in error
    report = read(record, ProfileReport)
    assert report == read(folder / "run.json", ProfileReport)
    names = {e.get("name") for e in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]}
    assert {"phase: prefill", "phase: decode token 2", "module: blocks.0.mlp.up"} <= names
    (board,) = (tmp_path / "b").iterdir()
    assert board.name.endswith(".pt.trace.json.gz")
    assert report.exports == [str(folder / "trace.json.gz"), str(trace), str(board)]


def test_an_unknown_phase_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused([*SMALL, "--phase", "training"], monkeypatch, capsys)
    assert "'training'" in message and "prefill" in message


def test_a_missing_folder_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--perfetto" in refused([*SMALL, "--perfetto", "/no/such/t.gz"], monkeypatch, capsys)
