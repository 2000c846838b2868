"""What stands beside the sources: citation, image, workflow; each tells what the README tells."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import topout
from tests.cli.command_line import run
from tests.conftest import REPOSITORY
from tests.documented_commands import commands_in, parses, words_of

CI_PAGE = REPOSITORY / "docs" / "ci.md"


def _installed_by_hand() -> list[str]:
    """The two lines of the README for an environment of one's own."""
    block = re.search(
        r"```\n(pip install .*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL
    )
    assert block is not None
    return block[1].splitlines()


def test_the_cpu_build_of_torch_is_installed_first() -> None:
    torch, package = _installed_by_hand()
    assert torch == "pip install torch --index-url https://download.pytorch.org/whl/cpu"
    assert package == "pip install '.[all]'"


def test_the_image_is_installed_as_the_readme_says() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    runs = re.findall(r"^RUN (pip install .*)$", text, re.MULTILINE)
    assert runs == _installed_by_hand()
    assert "COPY src src" in text and 'ENTRYPOINT ["topout"]' in text
    copied = {
        name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()
    }
    assert all((REPOSITORY / name).exists() for name in copied)
    # What the build reads: the list that the tests build a wheel from.
    assert {"pyproject.toml", "README.md", "LICENSE", "src"} <= copied
    version = re.search(r"^FROM python:(\d+)\.(\d+)-slim$", text, re.MULTILINE)
    assert version is not None and (int(version[1]), int(version[2])) >= (3, 11)


def test_make_installs_all_extras_torch_first() -> None:
    """The tests need every extra, and whatever asks for torch finds the pinned one there."""
    text = (REPOSITORY / "Makefile").read_text().split("\n$(STAMP): ")[1]
    installed = re.findall(r"-m pip install --quiet --constraint constraints.txt (.*)$", text, re.M)
    assert installed[:2] == ["torch", "--editable '.[all,dev]'"]


def test_the_citation_is_of_this_version() -> None:
    found = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert found["version"] == topout.__version__ and found["license"] == "Apache-2.0"
    assert found["cff-version"] == "1.2.0" and found["title"] == "Topout" and found["authors"]


def _workflow() -> dict[str, object]:
    block = re.search(r"```yaml\n(.*?)```", CI_PAGE.read_text(), re.DOTALL)
    assert block is not None
    found: dict[str, object] = yaml.safe_load(block[1])
    return found


def test_the_workflow_installs_and_runs_what_exists() -> None:
    jobs = _workflow()["jobs"]
    assert isinstance(jobs, dict)
    steps = [step["run"] for step in jobs["topout"]["steps"] if "run" in step]
    assert steps[0] == _installed_by_hand()[0]
    assert steps[1] == _installed_by_hand()[1].replace("'.[", "'topout[")
    commands = [step for step in steps if step.startswith("topout ")]
    assert len(commands) >= 3 and commands == commands_in(CI_PAGE)
    assert all(parses(line) for line in commands)


def test_the_bound_of_the_page_is_kept_and_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Python ends with 0 on the record of its own command, and with 1 on a slower machine's."""
    monkeypatch.chdir(tmp_path)
    line = next(line for line in commands_in(CI_PAGE) if "cost.json" in line)
    code = re.findall(r"```python\n(.*?)```", CI_PAGE.read_text(), re.DOTALL)[-1]
    for machine, status in (("h200", 0), ("xeon-e3-1270-v2", 1)):
        words = words_of(line.replace("h200", machine))
        assert run(words, monkeypatch, capsys)[0] == 0
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
        assert done.returncode == status
