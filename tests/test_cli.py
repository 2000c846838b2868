"""The command line: help without torch, and bad input in one line with exit status 2."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import topout
from tests.cli.command_line import refused, run
from tests.documented_commands import commands_in, parses
from tests.models.small_models import SMALL_GPT2, write_model
from topout.machine.describe import describe
from topout.records import MachineReport, decode

REPOSITORY = Path(__file__).parent.parent
TEXT = str(REPOSITORY / "LICENSE")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small sound model."""
    return write_model(tmp_path / "model")


def test_help_is_quick_and_imports_neither_torch_nor_transformers() -> None:
    """Help in a fresh process; what it imported is what is looked at, since time is not steady."""
    code = (
        "import sys; sys.argv = ['topout', '--help']\n"
        "from topout.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'altair', 'polars'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "climb" in done.stdout and "machine" in done.stdout


def test_import_offers_the_public_names_without_torch() -> None:
    """`import topout` is light, and each public name is there."""
    code = (
        "import sys, topout\n"
        "heavy = {'torch', 'numpy', 'polars', 'rich', 'click', 'msgspec', 'logging'}\n"
        "assert topout.__version__ and not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "print(topout.climb.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "climb", done.stderr
    assert all(getattr(topout, name) is not None for name in topout.__all__)
    with pytest.raises(AttributeError):
        topout.no_such_name


def test_machine_writes_a_record(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`topout machine --json -` prints JSON alone, which decodes into its record."""
    status, out, _ = run(["machine", "--describe-only", "--json", "-"], monkeypatch, capsys)
    assert status == 0
    assert decode(out, MachineReport).machine.cpu_model


def test_machine_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table for people."""
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(["machine", "--describe-only"], monkeypatch, capsys)
    assert status == 0 and "Processor" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["climb", "gpt3"], ["gpt3", "gpt2"]),
        (["climb", "gpt2", "--random-weights", "--rungs", "static_cash"], ["static_cache"]),
        (["climb", "gpt2", "--random-weights", "--prompt-len", "1000"], ["1000", "1024"]),
        (["climb", "gpt2", "--random-weights", "--prompt-len", "0"], ["--prompt-len"]),
        (["climb", "gpt2", "--random-weights", "--new-tokens", "1"], ["--new-tokens"]),
        (["climb", "gpt2", "--random-weights", "--threads", "4096"], ["4096", "CPUs"]),
        (["climb", "gpt2", "--random-weights", "--device", "tpu"], ["tpu", "cuda"]),
        (["climb", "gpt2", "--random-weights", "--dtype", "fp8"], ["fp8", "bf16"]),
        (["climb", "gpt2", "--random-weights", "--temperature", "-1"], ["--temperature"]),
        (["climb", "gpt2", "--random-weights", "--max-loss", "-1"], ["--max-loss"]),
        (["climb", "gpt2", "--random-weights", "--text", "/no/such.txt"], ["/no/such.txt"]),
        (["climb", "gpt2", "--random-weights", "--draft", "distilgpt3"], ["distilgpt2"]),
        (["climb", "gpt2", "--random-weights", "--json", "/no/such/x.json"], ["/no/such"]),
        (["climb", "gpt2", "--random-weights", "--report", "/no/such/x.html"], ["/no/such"]),
        (["climb", "--resume", "/no/such/run"], ["/no/such/run"]),
        (["machine", "--device", "tpu"], ["tpu", "cuda"]),
        (["machine", "--json", "/no/such/x.json"], ["/no/such"]),
    ],
)
def test_bad_options_are_refused_in_one_line(
    arguments: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The line names the input and the remedy, and nothing has been measured."""
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))
    line = refused(arguments, monkeypatch, capsys)
    assert all(word in line for word in words), line
    assert list(tmp_path.iterdir()) == []  # no empty run folder is left behind


def test_more_threads_than_cpus_names_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remedy is a number that works."""
    usable = describe().usable_cpus
    arguments = ["climb", "gpt2", "--random-weights", "--threads", str(usable + 1)]
    assert f"at most {usable}" in refused(arguments, monkeypatch, capsys)


def _without_config(model: Path) -> list[str]:
    (model / "config.json").unlink()
    return ["config.json"]


def _truncated(model: Path) -> list[str]:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    return ["model.safetensors"]


def _mismatched(model: Path) -> list[str]:
    config = {**SMALL_GPT2, "n_embd": 32}
    (model / "config.json").write_text(json.dumps(config))
    return ["wte", "64", "32"]


def _missing_tensor(model: Path) -> list[str]:
    save_file({"wte.weight": torch.zeros(300, 64)}, model / "model.safetensors")
    return ["misses", "transformer.h.0"]


def _pickle(model: Path) -> list[str]:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return ["pytorch_model.bin", "safetensors"]


def _unsupported(model: Path) -> list[str]:
    (model / "config.json").write_text(json.dumps({**SMALL_GPT2, "model_type": "mixtral"}))
    return ["mixtral", "gpt2"]


def _not_json(model: Path) -> list[str]:
    (model / "config.json").write_text("{")
    return ["config.json", "JSON"]


def _gone(model: Path) -> list[str]:
    shutil.rmtree(model)
    return ["no such"]


@pytest.mark.parametrize(
    "damage",
    [
        _without_config, _truncated, _mismatched, _missing_tensor, _pickle, _unsupported,
        _not_json, _gone,
    ],
)  # fmt: skip
def test_bad_models_are_refused_in_one_line(
    damage: object,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file, the field or the tensor is named."""
    assert callable(damage)
    words = damage(model)
    line = refused(["climb", str(model), "--text", TEXT], monkeypatch, capsys)
    assert all(word in line for word in words), line


def test_an_output_folder_that_cannot_be_made_is_refused(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A file stands where the folder should be: what a read-only place looks like to root too."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TOPOUT_HOME", str(blocked))
    short = ["--prompt-len", "16", "--new-tokens", "8", "--text", TEXT]
    line = refused(["climb", str(model), *short], monkeypatch, capsys)
    assert "TOPOUT_HOME" in line and str(blocked) in line


def test_resuming_a_record_of_another_schema_is_refused(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The version is named; nothing is overwritten."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "request.json").write_text(
        json.dumps({"model": str(model), "text": [TEXT], "prompt_len": 16, "new_tokens": 8})
    )
    (folder / "run.json").write_text(json.dumps({"schema_version": 99, "kind": "climb"}))
    line = refused(["climb", "--resume", str(folder)], monkeypatch, capsys)
    assert "99" in line and "run.json" in line
    assert json.loads((folder / "run.json").read_text())["schema_version"] == 99


def test_a_folder_that_cannot_be_resumed_is_left_as_it_is(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Interrupted before its first rung, and the text is gone: what lies there stays."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")
    request = {"model": str(model), "text": ["/no/such.txt"], "prompt_len": 16, "new_tokens": 8}
    (folder / "request.json").write_text(json.dumps(request))
    assert "/no/such.txt" in refused(["climb", "--resume", str(folder)], monkeypatch, capsys)
    assert (folder / "mine.txt").read_text() == "keep me"
    assert (folder / "request.json").exists()


def test_an_unknown_option_shows_usage_and_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the option parser itself refuses."""
    status, _, err = run(["climb", "--no-such-option"], monkeypatch, capsys)
    assert status == 2 and "no-such-option" in err


def test_the_readme_commands_parse() -> None:
    """Every `topout …` line of the README and the docs is a command with options that exist."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    lines = {line for page in pages for line in commands_in(page)}
    assert len(lines) >= 50
    for line in lines:
        assert parses(line), line


def test_the_readme_begins_with_two_commands_that_make_knows() -> None:
    """`make climb` and `make test` are targets, and CI runs the second."""
    readme = (REPOSITORY / "README.md").read_text()
    block = re.search(r"```\n(.*?)```", readme, flags=re.DOTALL)
    assert block is not None
    commands = [line.split("#")[0].strip() for line in block.group(1).splitlines()]
    assert commands[:2] == ["make climb", "make test"]
    for command in commands[:2]:
        planned = subprocess.run(
            [*command.split(), "-n"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        assert "topout climb" in planned.stdout or "pytest" in planned.stdout
    assert "make test" in (REPOSITORY / ".ci" / "run").read_text()
