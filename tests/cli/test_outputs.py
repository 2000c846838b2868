"""`--format`: one record on standard output in each form, and nothing else beside it."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from tests.golden.commands import INPUTS
from topout.cli.dispatch import COMMANDS, commands_of
from topout.records import CostReport, Hardware, TraceReport, decode
from topout.report import describe
from topout.report.to_csv import to_csv
from topout.report.to_markdown import to_markdown

LINES = {
    "cost": ["cost", "gpt2", "--on", "t4"],
    "cost layers": ["cost", "layers", "distilgpt2", "--depth", "1"],
    "cost list": ["cost", "list"],
    "machine list": ["machine", "list"],
    "machine show": ["machine", "show", "t4"],
    "trace": ["trace", str(INPUTS / "files" / "kineto.json")],
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))


def test_every_command_that_shows_a_record_has_the_option() -> None:
    without = [
        name
        for name in COMMANDS
        if "--format"
        not in [field.flag for field in commands_of(name.split()[0])[name.partition(" ")[2]].fields]
    ]
    assert without == ["gemm init", "schema", "completion"]


@pytest.mark.parametrize("name", LINES)
def test_each_format_is_alone_on_standard_output(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def out(form: str) -> str:
        status, text, _ = run([*LINES[name], "--format", form], monkeypatch, capsys)
        assert status == 0
        return text

    assert out("markdown").startswith("## ")
    heads, *lines = csv.reader(io.StringIO(out("csv")))
    assert lines and all(len(line) == len(heads) for line in lines)
    assert json.loads(out("json"))


def test_formats_are_those_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the files that were asked for besides."""
    file, page = tmp_path / "x.json", tmp_path / "x.html"
    more = ["--json", str(file), "--report", str(page)]
    _, text, _ = run([*LINES["cost"], "--format", "csv", *more], monkeypatch, capsys)
    record = decode(file.read_bytes(), CostReport)
    assert text == to_csv(record) and "</html>" in page.read_text()
    _, text, _ = run([*LINES["trace"], "--format", "markdown", *more[:2]], monkeypatch, capsys)
    assert text == to_markdown(describe(decode(file.read_bytes(), TraceReport)))


def test_json_is_the_same_as_with_a_dash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = LINES["machine show"]
    outputs = [
        run([*line, *words], monkeypatch, capsys)
        for words in (["--format", "json"], ["--json", "-"], ["--format=json"])
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    assert decode(outputs[0][1], Hardware).name == "t4"


@pytest.mark.parametrize("form", ["csv", "markdown", "json"])
def test_two_texts_for_one_standard_output_are_refused(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused([*LINES["cost"], "--format", form, "--json", "-"], monkeypatch, capsys)
    assert f"--format {form} and --json - both want standard output" in line


def test_what_has_no_table_says_so_and_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "machine.json"
    line = ["machine", "--describe-only", "--format", "csv", "--json", str(file)]
    assert "no table" in refused(line, monkeypatch, capsys)
    assert json.loads(file.read_text())["kind"] == "machine"


@pytest.mark.parametrize("more", [["--format", "csv"], ["--format", "json"], []])
def test_a_closed_pipe_is_no_traceback_and_files_are_written(
    more: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "cost.json"
    command = [sys.executable, "-m", "topout", *LINES["cost"], *more, "--json", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 1 and said == ""
    assert decode(file.read_bytes(), CostReport).model.name == "gpt2"
