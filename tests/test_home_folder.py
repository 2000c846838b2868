"""A home folder that is there, and a user who has none: a container under a number of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import run
from topout.cache_folder import cache_folder, writable_cache_folder
from topout.errors import OutputError
from topout.home_folder import NO_HOME, ensure_home, expanded
from topout.machine.effort import SaveMachineRequest
from topout.verbs.report_machine import save_machine

VARIABLES = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TOPOUT_HOME", "TOPOUT_CACHE")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable says where home is, and the user has no entry in the table of users."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.chdir(tmp_path)


def test_the_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert expanded("~/.cache/x") == Path("/home/ada/.cache/x")
    assert expanded("~") == Path("/home/ada")
    assert expanded("a/~/b") == Path("a/~/b") and expanded("/c") == Path("/c")


@pytest.mark.usefixtures("nobody")
def test_without_a_home_nothing_is_there_and_nothing_can_be_put_there() -> None:
    assert expanded("~/.cache/x") == NO_HOME / ".cache/x"
    assert expanded("~nobody-of-this-name/x") == NO_HOME / "x"
    assert cache_folder() == NO_HOME / ".cache" / "topout"
    folder = writable_cache_folder("kernels")
    assert folder.is_dir() and NO_HOME not in folder.parents
    assert list(Path().iterdir()) == []  # no folder called "~"


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("line", [["cost", "gpt2", "--on", "t4"], ["machine", "list"]])
def test_verbs_work_without_a_home(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(line, monkeypatch, capsys)
    assert (status, err) == (0, "") and out


@pytest.mark.usefixtures("nobody")
def test_libraries_find_one_that_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """altair asks for it while it is imported."""
    with pytest.raises(RuntimeError):
        Path.home()
    ensure_home()
    assert Path.home() == NO_HOME and not NO_HOME.exists()
    monkeypatch.setenv("HOME", "/home/ada")
    ensure_home()
    assert Path.home() == Path("/home/ada")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_machine_is_not_kept_without_a_home() -> None:
    """In a process of a user who has no name; what can be done is said."""
    code = (
        "import os; from topout.machine.catalog.find import save_hardware, shipped_hardware\n"
        "from topout.errors import OutputError\n"
        "hardware = shipped_hardware('t4'); os.setuid(54321)\n"
        "try: save_hardware(hardware, 'mine')\n"
        "except OutputError as error: print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("cannot make /proc/no-home/.local/share/topout/machines: ")
    assert done.stdout.count("\n") == 1 and "Set TOPOUT_HOME" in done.stdout


def test_a_place_that_cannot_be_is_refused_before_the_machine_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*arguments: object, **named: object) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr("topout.verbs.report_machine.measured_here", measured)
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))
    (tmp_path / "machines").write_text("")
    with pytest.raises(OutputError, match="Set TOPOUT_HOME"):
        save_machine(SaveMachineRequest(name="mine"))
    (tmp_path / "machines").unlink()
    (tmp_path / "machines" / "mine.json").mkdir(parents=True)
    with pytest.raises(OutputError, match="it is a folder"):
        save_machine(SaveMachineRequest(name="mine"))
