"""`topout run` as a user types it."""

import json
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from tests.verbs.example_sources import own_source
from topout.records import RunReport, decode

pytestmark = pytest.mark.seconds(30)

SMALL = ["run", "pycode-1m", "--prompt-len", "12", "--new-tokens", "4", "--repeats", "1"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("topout.generation.subject.load_doubts", list)


def test_a_table_a_page_and_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    arguments = [*SMALL, "--gemm", "tiled", "--report", str(page)]
    status, out, error = run(arguments, monkeypatch, capsys)
    assert status == 0
    assert "pytorch" in out and "tiled" in out and max(map(len, out.splitlines())) <= 80
    (folder,) = (tmp_path / "runs").iterdir()
    assert page.read_text() == (folder / "report.html").read_text()
    assert str(page) in error and (folder / "run.json").is_file()


def test_json_alone_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run([*SMALL, "--json", "-"], monkeypatch, capsys)
    assert status == 0 and json.loads(out)["kind"] == "run"
    assert decode(out, RunReport).result.decode.tokens_per_s.median > 0


def test_a_wrong_product_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = own_source(tmp_path, "wrong")
    status, out, _ = run([*SMALL, "--gemm", str(source)], monkeypatch, capsys)
    assert status == 1
    assert "wrong.cpp has no speed" in out and "speedup" not in out


def test_an_unknown_version_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused([*SMALL, "--gemm", "tilde"], monkeypatch, capsys)
    assert "'tilde'" in message and "tiled" in message
