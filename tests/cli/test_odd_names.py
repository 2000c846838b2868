"""Names that are no UTF-8, and that a terminal would obey, in real commands."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from tests.golden.commands import INPUTS
from tests.models.tiny import GPT2
from topout.visible_text import visible

NAME = os.fsdecode(b"m\xff\x1b[31m\nFindings\xe2\x80\xae")
SPELLED = "m\\xff\x1b[31m\nFindings\u202e"  # in a record, which keeps all but what is no text


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    return tmp_path


@pytest.fixture
def model(folder: Path) -> str:
    """The path of a model's folder with such a name."""
    (folder / NAME).mkdir()
    config = json.dumps({**GPT2, "n_positions": 1024})
    (folder / NAME / "config.json").write_text(config)
    return f"./{NAME}"


def seen(text: str) -> str:
    assert visible(text) == text
    return text


@pytest.mark.parametrize("form", [[], ["--format", "markdown"], ["--format", "csv"]])
def test_a_model_is_shown_and_drawn(
    form: list[str],
    model: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = ["--json", "out.json", "--report", "out.html", "--roofline", "out.svg"]
    line = ["cost", model, "--on", "t4", *form, *files]
    status, out, err = run(line, monkeypatch, capsys)
    assert status == 0, err
    assert "\nFindings\ufffd" not in seen(out) and seen(err) == err
    assert json.loads(seen((folder / "out.json").read_text()))["model"]["name"] == SPELLED
    seen((folder / "out.svg").read_text().replace("\t", " "))


def test_a_trace_is_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = folder / f"{NAME}.json"
    trace.write_bytes((INPUTS / "files" / "kineto.json").read_bytes())
    line = ["trace", trace.name, "-v", "--json", "out.json"]
    status, out, err = run(line, monkeypatch, capsys)
    assert status == 0, err
    assert "m\ufffd\ufffd[31m Findings\ufffd.json" in seen(out) and "\nFindings\ufffd" not in out
    assert "\nFindings" not in seen(err)
    assert f"{SPELLED}.json" in json.loads((folder / "out.json").read_text())["files"]


@pytest.mark.parametrize(
    "line",
    [
        ["cost", NAME],
        ["cost", f"--{NAME}"],
        [NAME],
        ["trace", NAME],
        ["cost", "gpt2", "--on", NAME],
        ["cost", "gpt2", "--json", f"missing/{NAME}"],
        ["schema", NAME],
        ["gemm", "--source", f"{NAME}.cpp"],
        ["climb", "resume", NAME],
    ],
    ids=range(9),
)
def test_what_is_not_there_is_refused_in_one_line(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen(refused(line, monkeypatch, capsys))
