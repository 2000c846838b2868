"""Standard output that is full, closed or of a plain terminal; streams that are not there."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from topout.cli.standard_streams import prepare_streams
from topout.records import CostReport, decode

PROGRAM = [sys.executable, "-m", "topout"]
COST = [*PROGRAM, "cost", "gpt2", "--on", "t4"]
SHOWN = {
    "table": COST,
    "roofline": [*COST, "--roofline", "roofline.svg"],
    "json": [*COST, "--format", "json"],
    "dash": [*COST, "--json", "-"],
    "csv": [*COST, "--format", "csv"],
    "markdown": [*COST, "--format", "markdown"],
    "version": [*PROGRAM, "--version"],
    "help": [*PROGRAM, "--help"],
    "help of a verb": [*PROGRAM, "cost", "--help"],
    "schema": [*PROGRAM, "schema"],
    "completion": [*PROGRAM, "completion", "bash"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_shell(line: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A line of bash; "$@" are the arguments."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("shown", SHOWN)
def test_a_full_standard_output_is_one_line_and_status_1(shown: str) -> None:
    done = by_shell('"$@" > /dev/full', *SHOWN[shown])
    expected = "topout: cannot write to standard output: No space left on device.\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_a_closed_standard_output_is_one_line_and_files_are_written(folder: Path) -> None:
    """Nothing that is printed lands in a file that was opened in its place."""
    done = by_shell('"$@" --json cost.json >&-', *COST)
    expected = "topout: cannot write to standard output: Bad file descriptor.\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert decode((folder / "cost.json").read_bytes(), CostReport).model.name == "gpt2"


def test_without_any_stream_files_are_written(folder: Path) -> None:
    done = by_shell('"$@" --json cost.json <&- >&- 2>&-', *COST)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert decode((folder / "cost.json").read_bytes(), CostReport).model.name == "gpt2"


def test_what_would_be_said_on_a_closed_standard_error_is_not_among_the_results() -> None:
    done = by_shell('"$@" --json missing/x 2>&-', *COST)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize("shown", ["table", "json", "help of a verb"])
def test_a_reader_that_has_enough_is_no_fault_to_be_told(shown: str) -> None:
    """SIGPIPE: `| true` reads nothing at all."""
    done = by_shell('set -o pipefail; "$@" | true', *SHOWN[shown])
    assert done.returncode in (0, 1) and done.stderr == ""


def test_a_reader_of_a_file_that_has_enough_is_no_fault_to_be_told(folder: Path) -> None:
    os.mkfifo(folder / "page")
    done = by_shell('head -c 9 <page & "$@" --report page >/dev/null', *COST)
    assert (done.returncode, done.stdout, done.stderr) == (1, "<!doctype", "")


# --- what a terminal has -------------------------------------------------------------------------


def run_in(environment: Mapping[str, str | None], *arguments: str) -> str:
    """Standard output as bytes of one character each, of a run that ends well."""
    changed = {**os.environ, **environment}
    here = {name: value for name, value in changed.items() if value is not None}
    done = subprocess.run(arguments, env=here, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode("latin-1")


ASCII: dict[str, str | None] = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}])
def test_tables_are_spelled_in_what_a_plain_terminal_has(
    environment: Mapping[str, str | None],
) -> None:
    shown = run_in(environment, *COST)
    assert shown.isascii() and "2.20x as fast" in shown and "context of 640" in shown


def test_what_other_programs_read_is_utf_8_whatever_the_terminal_is() -> None:
    markdown = [*COST, "--format", "markdown"]
    assert run_in(ASCII, *markdown) == run_in({"PYTHONUTF8": "1"}, *markdown)
    assert "×" in run_in(ASCII, *markdown).encode("latin-1").decode()
    assert json.loads(run_in(ASCII, *SHOWN["json"]))["kind"] == "cost"


@pytest.mark.parametrize("columns", ["0", "", "-3", "words"])
def test_an_unknown_width_is_80(columns: str) -> None:
    assert run_in({"COLUMNS": columns}, *COST) == run_in({"COLUMNS": "80"}, *COST)


@pytest.mark.parametrize("columns", ["1", "7", "20"])
def test_a_terminal_may_be_narrow(columns: str) -> None:
    assert "gpt2" in "".join(run_in({"COLUMNS": columns}, *COST).split())


@pytest.mark.parametrize("name", ["TERM", "HOME", "COLUMNS", "PATH", "LANG"])
def test_nothing_of_the_environment_is_needed(name: str) -> None:
    assert "gpt2" in run_in({name: None}, *COST)


def test_streams_that_are_there_stay_what_they_are() -> None:
    before = (sys.stdin, sys.stdout, sys.stderr)
    prepare_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
