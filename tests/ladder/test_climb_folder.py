"""The folder of a climb: its name, its files, and what cannot be written or read."""

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.report.example_climb import example_climb
from topout.errors import InputError, OutputError, RecordError
from topout.ladder.request import ClimbRequest
from topout.ladder.state import ClimbFolder, ClimbState


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    return tmp_path / "runs"


# --- the name ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt2", "gpt2"),
        ("meta-llama/Llama-2-7b-hf", "meta-llama-Llama-2-7b-hf"),
        ("../../etc/passwd", "etc-passwd"),
        ("my model (v2)", "my-model-v2"),
        ("größe", "gr-e"),
        ("...", "unnamed"),
        ("", "unnamed"),
        ("x" * 100, "x" * 60),
    ],
)
def test_the_models_name_is_made_fit_for_a_folder(model: str, name: str, home: Path) -> None:
    folder = ClimbFolder.create("climb", model)
    assert folder.path.parent == home
    stamp, rest = folder.path.name[:15], folder.path.name[15:]
    time.strptime(stamp, "%Y%m%d-%H%M%S")
    assert rest == f"-climb-{name}"
    assert folder.logs.is_dir() and folder.scratch.is_dir()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=80))
def test_any_name_stays_within_the_home(home: Path, model: str) -> None:
    folder = ClimbFolder.create("climb", model)
    assert folder.path.parent == home
    assert folder.path.resolve().parent == home.resolve()
    assert folder.path.is_dir()


def test_two_climbs_of_one_second_have_folders_of_their_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260101-000000")
    paths = [ClimbFolder.create("climb", "gpt2").path.name for _ in range(3)]
    assert paths == [f"20260101-000000-climb-gpt2{suffix}" for suffix in ("", "-1", "-2")]


def test_without_a_home_runs_lie_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOPOUT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert ClimbFolder.create("climb", "gpt2").path.resolve().parent == tmp_path / "topout-runs"


# --- what cannot be written -------------------------------------------------------------------


def test_a_home_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    for home in (tmp_path / "file", tmp_path / "file" / "runs"):
        monkeypatch.setenv("TOPOUT_HOME", str(home))
        with pytest.raises(OutputError, match=r"cannot create .*file.*Set TOPOUT_HOME"):
            ClimbFolder.create("climb", "gpt2")


def test_what_stands_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot create .*logs: File exists"):
        ClimbFolder(tmp_path).prepare()


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = ClimbFolder(tmp_path / "gone")
    with pytest.raises(OutputError, match=r"cannot write .*request\.json"):
        gone.save_request(ClimbRequest(model="gpt2"))
    with pytest.raises(OutputError, match=r"cannot write .*run\.json"):
        gone.save(example_climb())
    with pytest.raises(OutputError, match=r"cannot write .*report\.html"):
        gone.save_report("<html></html>")


# --- what is read back ------------------------------------------------------------------------


def test_a_climb_and_its_request_are_read_back(home: Path) -> None:
    folder = ClimbFolder.create("climb", "gpt2")
    assert folder.load() is None
    request, climb = ClimbRequest(model="gpt2", top_k=7), example_climb()
    folder.save_request(request)
    folder.save(climb)
    again = ClimbFolder(folder.path)
    assert again.load_request() == request
    assert again.load() == climb


def test_a_folder_without_a_request_cannot_be_resumed(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"no folder of a climb: .*request\.json"):
            ClimbFolder(path).load_request()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}', '{"model": "a", "dtype": "x"}'])
def test_a_damaged_request_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(text)
    with pytest.raises(RecordError, match=r"request\.json is (damaged|not valid JSON)"):
        ClimbFolder(tmp_path).load_request()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 1')
    with pytest.raises(RecordError, match=r"run\.json"):
        ClimbFolder(tmp_path).load()


def test_the_page_is_saved(home: Path) -> None:
    path = ClimbFolder.create("climb", "gpt2").save_report("<html>größer</html>")
    assert path.read_text(encoding="utf-8") == "<html>größer</html>"


# --- what is removed --------------------------------------------------------------------------


def test_scratch_files_are_removed_and_the_rest_stays(home: Path) -> None:
    folder = ClimbFolder.create("climb", "gpt2")
    (folder.scratch / "texts.safetensors").write_text("x")
    (folder.logs / "a.log").write_text("x")
    folder.clean()
    assert not folder.scratch.exists()
    assert (folder.logs / "a.log").exists()
    folder.clean()  # again does no harm


def test_a_folder_in_which_nothing_happened_is_discarded(home: Path) -> None:
    folder = ClimbFolder.create("climb", "gpt2")
    folder.save_request(ClimbRequest(model="gpt2"))
    folder.discard_if_empty()
    assert not folder.path.exists()


def test_a_folder_with_a_record_or_a_log_is_not_discarded(home: Path) -> None:
    recorded, logged = ClimbFolder.create("climb", "gpt2"), ClimbFolder.create("climb", "gpt2")
    recorded.save(example_climb())
    (logged.logs / "a.log").write_text("x")
    for folder in (recorded, logged):
        folder.discard_if_empty()
        assert folder.path.exists()


def test_a_ceiling_that_a_rung_is_above_is_doubted_once_however_often_it_is_saved(
    home: Path,
) -> None:
    example = example_climb()
    state = ClimbState(example, ClimbFolder.create("climb", "gpt2"))
    before = len(example.doubts)
    state.save([])
    assert len(state.record.doubts) == before
    first = example.rungs[0]
    assert first.decode is not None
    above = msgspec.structs.replace(first.decode, mbu_of_ceiling=2.01)
    state.update(rungs=[msgspec.structs.replace(first, decode=above), *example.rungs[1:]])
    for _ in range(2):
        state.save([])
    (doubt,) = state.record.doubts[before:]
    assert "above the bandwidth ceiling" in doubt.sentence
    state.update(rungs=example.rungs)
    state.save([])
    assert len(state.record.doubts) == before
