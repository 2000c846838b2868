"""docs/use-the-winner.md: its lines run as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.command_line import run
from tests.conftest import REPOSITORY
from tests.winner.climb_folders import climb_folder
from topout.report.climb.winner import winner_sections
from topout.report.document import Facts

pytestmark = pytest.mark.seconds(40)

PAGE = (REPOSITORY / "docs" / "use-the-winner.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHELL = re.findall(r"^topout generate .*$", PAGE, re.MULTILINE)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a climb in it."""
    climb_folder(tmp_path / "topout-runs" / "my-climb")
    (tmp_path / "prompt.txt").write_text("def read(path):\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lines_of_python_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(PYTHON) == 4
    names: dict[str, object] = {}
    for block in PYTHON:
        exec(compile(block, "docs/use-the-winner.md", "exec"), names)
    assert len(capsys.readouterr().out.split()) > 10
    assert (workplace / "pycode-int8" / "topout.json").is_file()


@pytest.mark.parametrize("line", SHELL)
def test_the_lines_of_the_shell_run(
    line: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed, _, file = line.partition(" < ")
    if file:
        monkeypatch.setattr("sys.stdin", (workplace / file).open())
    _, *arguments = shlex.split(typed)
    if "--max-new-tokens" not in arguments:
        arguments += ["--max-new-tokens", "8"]
    status, out, err = run(arguments, monkeypatch, capsys)
    assert status == 0 and out.strip() and "decode" in err


def test_the_lines_of_a_climb_are_those_of_the_page() -> None:
    from tests.winner.climb_folders import climb_of

    (section,) = winner_sections(climb_of(), "topout-runs/my-climb")
    facts = section.parts[0]
    assert isinstance(facts, Facts)
    for name, line in facts.pairs:
        assert f"{name:8}{line}" in PAGE
