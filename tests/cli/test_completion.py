"""Completion: what is offered for the words that are typed, and that a real shell offers it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from topout.cli.completion import answer_shell, suggest
from topout.cli.dispatch import COMMANDS, VARIABLE


def offered(line: str) -> list[str]:
    """What is offered for a line, of which the last word is being typed; "<file>" for files."""
    *words, begun = line.split(" ")
    return ["<file>" if each.type == "file" else each.value for each in suggest(words, begun)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tr", ["trace", "train"]),
        ("--v", ["--version"]),
        ("trace ", ["<file>", "diff", "runs"]),
        ("trace d", ["<file>", "diff"]),
        ("trace diff ", ["<file>"]),
        ("trace --gr", ["--groups"]),
        ("trace --groups ", ["fine", "coarse"]),
        ("trace diff a b --groups f", ["fine"]),
        ("cost l", ["<file>", "list", "layers"]),
        ("cost gpt2 l", ["<file>"]),  # a sub-command is the first word
        ("cost gpt2 --rep", ["--report"]),
        ("cost gpt2 --report ", ["<file>"]),
        ("cost --ti", []),
        ("cost example ", ["axpy", "stencil", "matmul"]),
        ("cost example s", ["stencil"]),
        ("gemm --no-r", ["--no-rivals"]),
        ("gemm --quick ", []),
        ("completion z", ["zsh"]),
        ("climb -- --qu", ["<file>"]),
        ("climb --device=cpu --dtype b", ["bf16"]),
        ("nothing --x", []),
        ("cost --layers --check x", []),  # two questions at once
    ],
)
def test_what_may_follow_is_offered(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_every_verb_and_every_option_is_offered() -> None:
    verbs = [name for name in COMMANDS if " " not in name]
    assert offered("") == [*verbs, "--help", "--version"]
    options = offered("climb --")
    assert {"--quick", "--json", "--rungs", "--help", "--verbose"} <= set(options)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_by_the_variable(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(["completion", shell], monkeypatch, capsys)
    assert status == 0 and f"{VARIABLE}={shell}_complete" in out and "topout" in out
    assert answer_shell(f"{shell}_source").strip() == out.strip()


def test_an_instruction_of_no_shell_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for instruction in ("tcsh_complete", "bash", "bash_exec"):
        monkeypatch.setenv(VARIABLE, instruction)
        assert instruction in refused(["machine"], monkeypatch, capsys)
    monkeypatch.delenv(VARIABLE)
    assert "Choose bash, zsh or fish" in refused(["completion", "tcsh"], monkeypatch, capsys)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_a_line(tmp_path: Path) -> None:
    """The function of the script is called as bash calls it, with a program of this checkout."""
    program = tmp_path / "topout"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m topout "$@"\n')
    program.chmod(0o755)
    script = (
        f'PATH="{tmp_path}:$PATH"; eval "$(topout completion bash)"; '
        "COMP_WORDS=(topout cost gpt2 --rec); COMP_CWORD=3; _topout_completion topout; "
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "--recompute"
    # Nothing is written to standard error but what bash says of a shell that is not interactive.
    assert "Traceback" not in done.stderr


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from topout.cli.completion import suggest\n"
        "from topout.cli.dispatch import COMMANDS\n"
        "for name in COMMANDS: suggest(name.split(), '-')\n"
        "heavy = {'torch', 'transformers', 'numpy', 'polars', 'altair', 'jinja2', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("number", ["", "two"])
def test_an_instruction_without_words_is_refused(
    number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "bash_complete")
    if number:
        monkeypatch.setenv("COMP_WORDS", "topout cost")
        monkeypatch.setenv("COMP_CWORD", number)
    assert "without the words of a shell" in refused([], monkeypatch, capsys)
