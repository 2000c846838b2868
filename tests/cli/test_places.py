"""Where a command writes: no file is lost, and a place that cannot be is refused before work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from tests.golden.commands import INPUTS
from tests.models.tiny import GPT2
from topout.cli.dispatch import COMMANDS, commands_of
from topout.cli.places import check_places
from topout.errors import OutputError
from topout.options import fields_of
from topout.profiling.request import ProfileRequest

COST = ["cost", "gpt2", "--on", "t4"]
PROGRAM = [sys.executable, "-m", "topout"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_option_that_names_a_file_to_write_is_known() -> None:
    """One that is added stands in one of the lists."""
    fields = {
        f"{name} {field.flag}": field
        for name in COMMANDS
        for field in commands_of(name.split()[0])[name.partition(" ")[2]].fields
        if field.type is not bool and field.metavar.startswith(("FILE", "FOLDER"))
    }
    written = {each.flag for each in fields.values() if each.option.writes}
    assert written == {"--json", "--report", "--roofline", "--graph", "--perfetto"}
    assert {name for name, each in fields.items() if each.flag not in written} == {
        "run --text",
        "profile --text",
        "climb --text",
        "profile --tensorboard",  # a folder, in which each trace has a new name
        "climb resume --folder",
        "gemm --source",
        "gemm init --path",  # refused where it is there
        "trace --rules",
        "trace diff --rules",
        "trace runs --rules",
        "trace --paths",
        "train --data",
    }


@pytest.mark.parametrize("option", ["--json", "--report", "--roofline"])
@pytest.mark.parametrize("place", ["folder.svg", "missing/x.svg", "input.cpp/x.svg"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    option: str,
    place: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "input.cpp").write_text("")
    (folder / "folder.svg").mkdir()
    line = refused([*COST, option, place], monkeypatch, capsys)
    assert line.startswith(f"topout: cannot write {option} {place}: ")


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "a"), ("a", "./a"), ("old", "link"), ("new", "dangling"), ("/dev/stdout", "/dev/fd/1")],
)
def test_two_outputs_of_one_file_are_refused(
    first: str,
    second: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "old").write_text("")
    (folder / "link").symlink_to("old")
    (folder / "dangling").symlink_to("new")
    line = refused([*COST, "--json", first, "--report", second], monkeypatch, capsys)
    assert f"--json and --report both name {first}" in line


def test_what_is_thrown_away_may_be_named_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*COST, "--json", os.devnull, "--report", os.devnull]
    assert run(line, monkeypatch, capsys)[0] == 0
    assert Path(os.devnull).is_char_device()


def test_a_file_that_is_read_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = folder / "trace.json"
    trace.write_bytes((INPUTS / "files" / "kineto.json").read_bytes())
    (folder / "link").symlink_to("trace.json")
    before = trace.read_bytes()
    for line in (["trace", "trace.json"], ["trace", "diff", "trace.json", "trace.json"]):
        for name in ("trace.json", "./trace.json", "link"):
            said = refused([*line, "--json", name], monkeypatch, capsys)
            assert f"--json {Path(name)} is a file that is read" in said
    assert trace.read_bytes() == before


def test_a_file_of_a_folder_that_is_read_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rank's trace, a model's config; an earlier record of ours may be."""
    (folder / "ranks").mkdir()
    trace = folder / "ranks" / "rank0.json"
    trace.write_bytes((INPUTS / "files" / "kineto.json").read_bytes())
    before = trace.read_bytes()
    said = refused(["trace", "ranks", "--json", "ranks/rank0.json"], monkeypatch, capsys)
    assert "--json ranks/rank0.json is a file of a folder that is read" in said
    assert trace.read_bytes() == before
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({**GPT2, "n_positions": 1024}))
    line = ["cost", "./model", "--on", "t4", "--json"]
    assert "is read" in refused([*line, "model/config.json"], monkeypatch, capsys)
    for _ in range(2):
        assert run([*line, "model/cost.json"], monkeypatch, capsys)[0] == 0


def test_a_file_where_standard_output_goes_is_not_replaced(folder: Path) -> None:
    with (folder / "shown").open("w") as shown:
        done = subprocess.run(
            [*PROGRAM, *COST, "--json", "shown"],
            stdout=shown,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2 and "--json shown is where standard output goes" in done.stderr


def test_another_name_of_standard_output_is_a_dash(folder: Path) -> None:
    """The record alone, in a pipe and in a file."""
    line = [*PROGRAM, *COST, "--json", "/dev/stdout"]
    piped = subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout
    with (folder / "shown").open("wb") as shown:
        subprocess.run(line, stdout=shown, check=True)
    for text in (piped, (folder / "shown").read_bytes()):
        assert json.loads(text)["kind"] == "cost"


def test_a_page_on_standard_output_is_alone_there(folder: Path) -> None:
    with (folder / "page").open("wb") as page:
        subprocess.run([*PROGRAM, *COST, "--report", "/dev/stdout"], stdout=page, check=True)
    text = (folder / "page").read_text()
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")


def test_options_of_the_request_are_checked_as_well(folder: Path) -> None:
    (folder / "runs.json").write_text("")
    with pytest.raises(OutputError, match="--perfetto missing/trace"):
        check_places(ProfileRequest(perfetto=Path("missing/trace")))
    assert [field.name for field in fields_of(ProfileRequest) if field.option.writes] == [
        "perfetto"
    ]
