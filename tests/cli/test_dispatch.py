"""Commands: what their options are derived from, sub-commands, earlier spellings, help, errors."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest

import topout
from tests.cli.command_line import refused, run
from tests.documented_commands import words_of
from topout.cli.command import Command
from topout.cli.dispatch import COMMANDS, commands_of, find_command
from topout.cli.examples import EXAMPLES
from topout.cli.outputs import JsonOutputs, Result
from topout.gemm.request import GemmRequest
from topout.options import Option
from topout.trace.request import TraceRequest
from topout.verbs.cost_request import CostRequest

VERBS = [name for name in COMMANDS if " " not in name]

NEEDED = {
    "climb resume": ["folder"],
    "machine show": ["h200"],
    "machine save": ["mine"],
    "completion": ["bash"],
    "cost example": ["axpy"],
    "gemm init": ["my.cpp"],
    "trace diff": ["a", "b"],
    "trace runs": ["a", "b"],
}


def found(line: str) -> tuple[str, list[str]]:
    """The name of the command that a line asks for, and what is left for it."""
    verb, *arguments = line.split()
    command, rest = find_command(commands_of(verb), arguments)
    return command.name, rest


class LongerRequest(CostRequest, frozen=True, kw_only=True):
    """One field more than `topout cost` has."""

    sparsity: Annotated[float, Option("Share of weights that are zero.", least=0, most=1)] = 0.0


def test_an_option_more_is_one_field_more(capsys: pytest.CaptureFixture[str]) -> None:
    """Type, default, help, range and error come from the declaration."""

    def answer(request: LongerRequest, outputs: JsonOutputs, notify: Any) -> Result:
        return Result()

    command = Command("cost", COMMANDS["cost"], answer, [])
    asked = command.parse(["gpt2", "--sparsity", "0.5", "--tp", "2", "--json", "-"])
    assert asked == (
        LongerRequest(model="gpt2", sparsity=0.5, tensor_parallel=2),
        JsonOutputs(json="-"),
    )
    assert command.parse(["--help"]) is None
    text = " ".join(capsys.readouterr().out.split())
    assert "--sparsity X Share of weights that are zero. [default: 0.0]" in text
    with pytest.raises(Exception, match=r"--sparsity 2.0 is out of range. It must be 0 to 1."):
        command.parse(["--sparsity", "2"])


def test_arguments_become_values_of_the_fields_types() -> None:
    command, rest = find_command(
        commands_of("gemm"),
        [
            "--shape",
            "2x3x4",
            "--shape",
            "5x6x7,8x9x10",
            "--dtype",
            "int8,fp32",
            "--threads",
            "1,2",
            "--no-rivals",
            "--explain",
            "--quick",
            "--versions",
            "tiled",
        ],
    )
    request, _ = command.parse(rest) or (None, None)
    assert request == GemmRequest(
        shapes=["2x3x4", "5x6x7", "8x9x10"],
        dtypes=["int8", "fp32"],
        threads=[1, 2],
        rivals=False,
        versions=["tiled"],
        quick=True,
    )
    command = commands_of("cost")[""]
    request, _ = command.parse(["--on", "./a,b.json", "--on=h200", "--batch-size", "3"]) or (0, 0)
    assert request == CostRequest(on=["./a,b.json", "h200"], batch_size=3)
    request, _ = commands_of("trace")[""].parse(["a,b", "--groups", "coarse", "--", "--c"]) or (
        0,
        0,
    )
    assert request == TraceRequest(paths=["a,b", "--c"], groups="coarse")


@pytest.mark.parametrize(
    ("line", "name", "rest"),
    [
        ("cost list", "cost list", ""),
        ("cost --list", "cost list", ""),
        ("cost layers gpt2 --graph g.svg", "cost layers", "gpt2 --graph g.svg"),
        ("cost gpt2 --layers --depth 2", "cost layers", "gpt2 --depth 2"),
        ("cost gpt2 --graph g.svg", "cost layers", "gpt2 --graph g.svg"),
        ("cost --graph=g.svg gpt2 --layers", "cost layers", "--graph=g.svg gpt2"),
        ("cost gpt2 --check --json -", "cost check", "gpt2 --json -"),
        ("cost --on here --example axpy --n 5", "cost example", "--on here axpy --n 5"),
        ("cost --example=axpy --threads 2", "cost example", "axpy --threads 2"),
        ("machine --list", "machine list", ""),
        ("machine --show h200 --json -", "machine show", "h200 --json -"),
        ("machine --device cuda --save lent-gpu", "machine save", "--device cuda lent-gpu"),
        ("machine --save list", "machine save", "list"),
        ("gemm --init my.cpp", "gemm init", "my.cpp"),
        ("climb --resume runs/a --json -", "climb resume", "runs/a --json -"),
        ("climb --resume=runs/a", "climb resume", "runs/a"),
        ("climb ./resume", "climb", "./resume"),
        ("trace diff a b", "trace diff", "a b"),
        ("trace --top 3 diff a b", "trace diff", "--top 3 a b"),
        ("trace --groups=fine runs a b", "trace runs", "--groups=fine a b"),
        # What only looks like a sub-command is none.
        ("cost ./list", "cost", "./list"),
        ("cost gpt2 list", "cost", "gpt2 list"),
        ("cost --on list", "cost", "--on list"),
        ("cost -- list", "cost", "-- list"),
        ("cost --on --list", "cost", "--on --list"),
        ("trace ./diff runs", "trace", "./diff runs"),
        ("trace --rules diff a", "trace", "--rules diff a"),
        ("machine", "machine", ""),
        ("machine --refresh --device cuda", "machine", "--refresh --device cuda"),
    ],
)
def test_sub_commands_and_the_flags_that_they_were(line: str, name: str, rest: str) -> None:
    assert found(line) == (name, rest.split())


def test_a_folder_that_is_named_like_a_sub_command_is_reached_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").mkdir()
    line = refused(["cost", "./list", "--on", "h200"], monkeypatch, capsys)
    assert "list has no config.json" in line


@pytest.mark.parametrize("name", COMMANDS)
def test_help_tells_every_option_within_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run([*name.split(), "--help"], monkeypatch, capsys)
    assert status == 0 and out.startswith(f"Usage: topout {name} ")
    assert max(map(len, out.splitlines())) <= 80
    command = commands_of(name.split()[0])[name.partition(" ")[2]]
    for field in command.fields:
        letter = f"{field.option.short}, " if field.option.short else ""
        spelled = field.metavar if field.option.positional else f"  {letter}{field.flag} "
        assert spelled in out and field.option.help, field
    for word, _ in command.subcommands:
        assert f"\n  {word}  " in out
    assert run([*name.split(), "-h"], monkeypatch, capsys) == (0, out, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_two_examples_that_are_commands(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is of this command, and parses as it is shown."""
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run([*name.split(), "--help"], monkeypatch, capsys)
    shown = out.split("\nExamples:\n")[1].splitlines()
    assert [line.removeprefix("  ") for line in shown] == list(EXAMPLES[name])
    assert len(shown) >= 2
    for example in EXAMPLES[name]:
        typed = re.sub(r'"\$\((.*)\)"', r"\1", example).removeprefix("eval ")
        verb, *arguments = words_of(typed.partition(" #")[0])
        command, rest = find_command(commands_of(verb), arguments)
        assert command.name == name and command.parse(rest) is not None, example


def test_examples_are_of_commands_that_exist() -> None:
    assert list(EXAMPLES) == list(COMMANDS)


def test_the_version_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--version"], monkeypatch, capsys) == (0, f"topout {topout.__version__}\n", "")


def test_help_imports_nothing_heavy() -> None:
    """In a fresh process; what is imported is looked at, since time is not steady."""
    code = (
        "import sys\n"
        "from topout.cli import main\n"
        "from topout.cli.dispatch import COMMANDS\n"
        "for name in COMMANDS:\n"
        "    sys.argv = ['topout', *name.split(), '--help']\n"
        "    try: main()\n"
        "    except SystemExit as ended: assert ended.code == 0, name\n"
        "heavy = {'torch', 'transformers', 'numpy', 'polars', 'altair', 'jinja2', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_overview_names_every_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(["--help"], monkeypatch, capsys)
    assert status == 0 and err == "" and max(map(len, out.splitlines())) <= 80
    assert all(f"\n  {verb} " in out for verb in VERBS)
    assert run([], monkeypatch, capsys) == (2, "", out)
    assert run(["-h"], monkeypatch, capsys) == (0, out, "")
    assert "-h, --help" in out and "--version" in out


VERBS_WITH_JSON = [
    verb for verb in VERBS if "json" in commands_of(verb)[""].outputs_type.__struct_fields__
]
WRONG = [
    ("--no-such-option", "unknown option '--no-such-option'"),
    ("--json", "--json"),
    ("--json nowhere/x.json", "--json nowhere/x.json"),
    ("--json=", "--json"),
    ("--help=yes", "--help"),
    ("one two three --x", "--x"),
]


@pytest.mark.parametrize(("verb", "wrong"), itertools.product(VERBS_WITH_JSON, WRONG))
def test_wrong_arguments_are_refused_in_one_line(
    verb: str,
    wrong: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    arguments, words = wrong
    line = refused([verb, *arguments.split()], monkeypatch, capsys)
    assert line.startswith("topout: ") and words in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_value_that_cannot_be_is_refused_whatever_the_option(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every number takes no text, and nothing that is no number; every choice no other word."""
    command = commands_of(name.split()[0])[name.partition(" ")[2]]
    needed = [*name.split(), *NEEDED.get(name, [])]
    for field in command.fields:
        for value in ("seven", "nan", "-inf", "1e400"):
            if not field.option.positional and (field.choices or field.type in (int, float)):
                line = refused([*needed, field.flag, value], monkeypatch, capsys)
                assert field.flag in line and (value in line or "inf" in line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cots", "unknown verb 'cots'. Did you mean cost, completion?"),
        ("machine shwo", "unknown part of `topout machine` 'shwo'. Did you mean show?"),
        ("machine show", "takes NAME, and 0 are named"),
        ("machine show a b", "takes NAME, and 2 are named: a b"),
        ("cost gpt2 bert-base", "takes [MODEL], and 2 are named: gpt2 bert-base"),
        ("cost gpt2 --layers --check", "--layers and --check is two questions"),
        ("cost list gpt2", "takes no name, and 1 is named: gpt2"),
        ("cost check gpt2 --on h200", "unknown option '--on'"),
        ("cost example fft", "'fft' is not known. Choose axpy, stencil or matmul."),
        ("cost layers gpt2 --graph x.png", "--graph x.png does not end in .svg"),
        ("gemm init", "takes FILE.cpp, and 0 are named"),
        ("climb --resume runs/a --new-tokens 5", "unknown option '--new-tokens'"),
        ("climb gpt2 --resume runs/a", "takes FOLDER, and 2 are named: gpt2 runs/a"),
        ("train --ranks 1,0", "--ranks 0 is out of range. It must be 1 to 1024."),
        ("train --seed -1", "--seed -1 is out of range. It must be 0 to 2⁶³ − 1."),
        ("trace --quick", "unknown option '--quick'"),
    ],
)
def test_the_line_names_option_and_remedy(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(line.split(), monkeypatch, capsys)


def test_a_current_folder_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = refused(["cost", "gpt2", "--on", "t4"], monkeypatch, capsys)
    assert "the current folder cannot be used: No such file or directory" in line
