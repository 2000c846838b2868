"""A disk that takes no more: one line, a documented exit status, and nothing half written.

A limit on the size of files stands for it: the system refuses a write all the same.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from .kills import model_in

pytestmark = pytest.mark.seconds(15)


def limited(limit_bytes: int, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, where no file may become larger."""
    code = (
        "import resource, runpy, sys; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {resource.RLIM_INFINITY})); "
        "sys.argv = ['topout', *sys.argv[1:]]; runpy.run_module('topout', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env=os.environ | {"TOPOUT_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    options = ["--quick", "--prompt-len", "8", "--new-tokens", "8"]
    done = limited(1000, tmp_path / "runs", "run", str(model_in(tmp_path)), *options)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("topout: cannot write ") and line.count("texts.safetensors") == 1
    assert "File too large" in line
    assert list((tmp_path / "runs").iterdir()) == []  # nothing was measured, so nothing is kept
