"""Programs are found by absolute entries of PATH, and Python is started on a safe path."""

import subprocess
from pathlib import Path

import pytest

from topout.programs import child_environment, find_program, python_command


def program(file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("entry", ["", ".", "bin"])
def test_no_program_of_the_current_folder_is_found(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "lscpu")
    program(tmp_path / "bin" / "lscpu")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{entry}:/nowhere")
    assert find_program("lscpu") is None
    monkeypatch.setenv("PATH", f"{entry}:{tmp_path / 'bin'}")
    assert find_program("lscpu") == str(tmp_path / "bin" / "lscpu")


def test_a_program_that_is_named_with_its_folder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "compiler")
    monkeypatch.chdir(tmp_path)
    assert find_program("./compiler") == "./compiler"


def test_python_is_started_without_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":/nowhere")
    command = python_command("json.tool", "--help")
    done = subprocess.run(command, env=child_environment({"A": "b"}), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert child_environment({"A": "b"})["A"] == "b"
