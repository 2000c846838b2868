"""The tests themselves: the same in every process, and of this checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import topout
from tests.conftest import SOURCES


def test_another_process_collects_the_same_tests(request: pytest.FixtureRequest) -> None:
    """Ids hold no time, no address and no order of a set: workers must agree on what there is."""
    config = request.config
    if config.option.keyword or config.option.markexpr or config.option.deselect:
        pytest.skip("a part of the tests was chosen by more than its files")
    here = sorted(item.nodeid for item in request.session.items)
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    there = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", *config.args],
        cwd=config.invocation_params.dir,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(line for line in there.stdout.splitlines() if "::" in line) == here


def test_processes_that_tests_start_import_this_checkout(tmp_path: Path) -> None:
    """The worker of a worker too: what topout starts inherits the path."""
    code = "import topout; print(topout.__file__)"
    outer = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    )
    for command in ([code], [outer, code]):
        done = subprocess.run(
            [sys.executable, "-c", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(done.stdout.strip()) == SOURCES / "topout" / "__init__.py"
    assert Path(topout.__file__) == SOURCES / "topout" / "__init__.py"
