"""A climb that is killed leaves nothing behind and loses nothing.

`make kills` does so at 200 moments, with workers too; here it is one, and what it would find.
"""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from .kills import Command, kill_at, model_in

pytestmark = pytest.mark.seconds(30)


def test_a_kill_leaves_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """Whatever the climb is at by then, which depends on how busy the machine is."""
    found = kill_at(model_in(tmp_path), tmp_path / "work", 12.0, "climb", random.Random(0))
    assert found.faults == []


def test_what_is_left_behind_is_found(tmp_path: Path) -> None:
    """A program that leaves a process and a file is told, so that the harness can fail."""
    command = Command(["--version"], tmp_path)
    command.program.wait(60)
    assert command.left_behind() == []
    (command.temporary / "leavings").write_text("")
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"], env=command.environment
    )
    try:
        assert orphan.pid in command.processes()
        assert set(command.left_behind(0.1)) == {
            f"process {orphan.pid} is left",
            "leavings is left",
        }
    finally:
        orphan.kill()
        orphan.wait()
