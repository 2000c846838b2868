"""Own machines: saved under a plain name, found again, never in the way of the catalog."""

from pathlib import Path

import msgspec
import pytest

from topout.errors import InputError, OutputError, RecordError
from topout.machine.catalog.find import (
    catalog_names,
    find_hardware,
    save_hardware,
    saved_folder,
    saved_names,
    shipped_hardware,
)
from topout.records import Hardware


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def hardware() -> Hardware:
    return shipped_hardware("t4")


def test_saved_and_found_again(home, hardware):
    path = save_hardware(hardware, "my-box")
    assert path == home / "machines" / "my-box.json"
    found = find_hardware("My-Box")
    assert found.name == "my-box"
    assert found.compute == hardware.compute
    assert found == find_hardware(str(path))
    assert saved_names() == ["my-box"]


def test_one_s_own_may_be_written_over(hardware):
    save_hardware(hardware, "box")
    save_hardware(shipped_hardware("l4"), "box")
    assert find_hardware("box").full_name == "NVIDIA L4"


@pytest.mark.parametrize("name", ["", "Box", "a b", "../x", "-x", ".x", "x.json", "é", "x" * 65])
def test_names_that_are_not_plain_are_refused(hardware, name):
    with pytest.raises(InputError, match="cannot name a machine"):
        save_hardware(hardware, name)
    assert not saved_folder().exists()


@pytest.mark.parametrize("name", ["here", *catalog_names()])
def test_taken_names_are_refused_with_another_offered(hardware, name):
    with pytest.raises(InputError) as caught:
        save_hardware(hardware, name)
    assert caught.value.remedy


def test_contradictions_are_not_saved(hardware):
    with pytest.raises(RecordError, match="levels"):
        save_hardware(msgspec.structs.replace(hardware, levels=[]), "box")


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    assert saved_folder() == tmp_path / "machines"
    monkeypatch.delenv("TOPOUT_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert saved_folder() == tmp_path / "data/topout/machines"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert saved_folder() == tmp_path / ".local/share/topout/machines"


def test_no_folder_is_no_machines():
    assert saved_names() == []


def test_a_folder_that_cannot_be_made_is_said(home, hardware):
    (home / "machines").write_text("in the way")
    with pytest.raises(OutputError, match="machines"):
        save_hardware(hardware, "box")


def test_files_that_are_no_machines_of_ours_are_passed_over(home, hardware):
    save_hardware(hardware, "box")
    (home / "machines" / "Not A Name.json").write_text("{}")
    assert saved_names() == ["box"]


def test_a_saved_file_that_was_damaged_names_itself(hardware):
    path = save_hardware(hardware, "box")
    path.write_text(path.read_text()[:100])
    with pytest.raises(RecordError, match=r"box\.json"):
        find_hardware("box")
