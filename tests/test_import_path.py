"""The current folder is on no search path of the program topout, nor of what it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from topout.import_path import import_own, leave_current_folder, without_current_folder

ROOT = str(Path(__file__).parent.parent / "src")
NAMES = "import sys; print(*sys.path, sep='\\n')"


def program_paths(*before: str, cwd: Path, **environment: str) -> list[str]:
    """`sys.path` in a process that runs a module of the package, as `python -m` does."""
    (cwd / "tell.py").write_text("import sys\nprint(*sys.path, sep='\\n')\n")
    done = subprocess.run(
        [sys.executable, *before],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": ROOT, "PYTHONSTARTUP": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def script(folder: Path, name: str = "topout") -> str:
    """What pip installs as the command, but that it prints where modules are found."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"import topout\n{NAMES}\n")
    return str(folder / name)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def test_the_command_drops_an_empty_entry_of_pythonpath(here: Path, tmp_path: Path) -> None:
    command = script(tmp_path / "bin")
    for entries in (f":{ROOT}", f"{ROOT}:", f"{ROOT}::/nowhere"):
        assert str(here) not in program_paths(command, cwd=here, PYTHONPATH=entries)


def test_a_folder_that_pythonpath_names_stays(here: Path, tmp_path: Path) -> None:
    command = script(tmp_path / "bin")
    for entries in (f"{ROOT}:.", f"{here}:{ROOT}"):
        assert str(here) in program_paths(command, cwd=here, PYTHONPATH=entries)


def test_a_program_that_imports_the_package_keeps_its_paths(here: Path, tmp_path: Path) -> None:
    command = script(tmp_path / "bin", "another")
    assert str(here) in program_paths(command, cwd=here, PYTHONPATH=f":{ROOT}")


def test_python_m_of_the_package_leaves_the_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    for module in (["-m", "topout"], ["-mtopout"], ["-X", "dev", "-m", "topout.ladder.worker"]):
        monkeypatch.setattr(sys, "path", [str(here), ROOT])
        monkeypatch.setattr(sys, "argv", ["-m", "run", "topout"])
        monkeypatch.setattr(sys, "orig_argv", ["python", *module, "run", "topout"])
        leave_current_folder()
        assert sys.path == [ROOT]


def test_python_m_of_another_package_keeps_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it imports this one, and has its name among its arguments."""
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(here), ROOT])
    monkeypatch.setattr(sys, "argv", ["-m", "topout"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "theirs", "topout"])
    leave_current_folder()
    assert sys.path == [str(here), ROOT]


def test_the_package_is_found_where_it_lies_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [ROOT, "/elsewhere"])
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "topout"])
    monkeypatch.delenv("PYTHONPATH")
    leave_current_folder()
    assert sys.path == ["/elsewhere", ROOT]  # last: nothing in it stands before what it needs
    assert os.environ["PYTHONPATH"] == ROOT  # for children


def test_search_paths_lose_what_is_the_current_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    found = without_current_folder(
        {
            "PATH": ".:/usr/bin::bin",
            "LD_LIBRARY_PATH": "/opt/lib:",
            "LIBRARY_PATH": ":",
            "CPATH": "",
            "PYTHONPATH": ":src::/opt:",
            "HOME": "here:",
        }
    )
    assert found == {
        "PATH": "/usr/bin",
        "LD_LIBRARY_PATH": "/opt/lib",
        "PYTHONPATH": "src:/opt",
        "HOME": "here:",
        "PYTHONSAFEPATH": "1",
    }
    assert without_current_folder(found) == found


def test_own_code_is_found_in_the_current_folder_after_all_other(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "a_module_of_ones_own.py").write_text("import json\nVALUE = json.dumps([1])\n")
    (here / "json.py").write_text("raise RuntimeError\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "a_module_of_ones_own", raising=False)
    monkeypatch.delitem(sys.modules, "json")
    assert import_own("a_module_of_ones_own:VALUE") == "[1]"
    assert sys.path[-1] == str(here)
    with pytest.raises(AttributeError):
        import_own("a_module_of_ones_own:OTHER")
