"""The cache lies where the environment says, and nothing that may be another user's is read."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from topout import cache_folder as module
from topout.cache_folder import (
    cache_folder,
    child_variables,
    compiler_cache_folder,
    distrust,
    kept_files,
    open_kept,
    read_kept,
    writable_cache_folder,
)
from topout.errors import OutputError
from topout.programs import child_environment

STRANGER = 54321
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in a process that has not used any yet."""
    monkeypatch.setattr(module, "_told", set())
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- where it lies ------------------------------------------------------------------------------


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("TOPOUT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/topout")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/topout")
    monkeypatch.setenv("TOPOUT_CACHE", "~/mine")
    assert cache_folder() == Path("/home/someone/mine")


def test_no_folder_of_where_one_stands_is_meant_by_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOPOUT_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert cache_folder() == Path("/home/someone/.cache/topout")
    monkeypatch.setenv("HOME", "home")
    assert not writable_cache_folder("kernels").is_relative_to(tmp_path)
    monkeypatch.setenv("TOPOUT_CACHE", "named")  # on purpose
    assert cache_folder() == tmp_path / "named"


def test_the_folder_is_created_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "deep" / "cache"))
    before = os.umask(0)
    try:
        folder = writable_cache_folder("kernels")
    finally:
        os.umask(before)
    assert folder == tmp_path / "deep" / "cache" / "kernels"
    for each in (folder, folder.parent, folder.parent.parent):
        assert each.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_is_replaced_for_the_life_of_the_process(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    code = (
        "from topout.cache_folder import writable_cache_folder\n"
        "folder = writable_cache_folder('kernels')\n"
        "assert folder == writable_cache_folder('kernels')\n"
        "(folder / 'a').write_text('')\n"
        "print(folder)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TOPOUT_CACHE": str(in_the_way), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path)
    assert not folder.exists() and done.stderr == ""


# --- who could have put it there ----------------------------------------------------------------


def give_away(path: Path) -> None:
    os.chown(path, STRANGER, -1, follow_symlinks=False)


def open_up(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(mode)


OF_A_FILE = {
    "its group": open_up(0o664),
    "all": open_up(0o646),
    "another user": pytest.param(give_away, marks=as_root),
}


def changes(cases: dict[str, object]) -> list[object]:
    return [
        case if not callable(case) else pytest.param(case, id=name) for name, case in cases.items()
    ]


@pytest.fixture
def kept(cache: Path) -> Path:
    """A file that is kept, three folders below one that is ours."""
    file = writable_cache_folder("page") / "kept.js"
    file.write_text("text")
    file.chmod(0o644)
    assert distrust(file) is None and read_kept(file) == b"text"
    assert kept_files("page", "*.js") == [file]
    return file


@pytest.mark.parametrize("change", changes(OF_A_FILE))
def test_a_file_that_another_could_have_written_is_not_read(
    change: Callable[[Path], None], kept: Path
) -> None:
    change(kept)
    assert str(distrust(kept)).startswith(f"{kept} ")
    assert kept_files("page", "*.js") == []
    with pytest.raises(PermissionError, match=r"kept\.js (belongs to|can be written by)"):
        read_kept(kept)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize(
    "change", changes({**OF_A_FILE, "its group": open_up(0o770), "all": open_up(0o707)})
)
def test_nor_is_one_below_a_folder_that_another_can_change(
    change: Callable[[Path], None],
    depth: int,
    kept: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = kept.parents[depth]
    change(folder)
    with pytest.raises(PermissionError, match=f"^{folder} (belongs to|can be written by)"):
        open_kept(kept)
    assert kept_files("page", "*.js") == []
    elsewhere = writable_cache_folder("page")
    assert elsewhere != kept.parent and distrust(elsewhere) is None
    assert kept_files("page", "*.js") == []
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith(f"topout: {folder} "), told
    assert "chmod go-w" in told and "TOPOUT_CACHE" in told


def test_a_sticky_folder_is_good_enough_on_the_way(kept: Path) -> None:
    kept.parents[2].chmod(0o1777)
    assert distrust(kept) is None
    kept.parent.chmod(0o1777)  # not as the place itself: anybody's file may be there
    assert distrust(kept.parent) == f"{kept.parent} can be written by other users"


@as_root
def test_what_another_has_in_a_sticky_folder_is_theirs(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    theirs = tmp_path / "topout"
    theirs.mkdir()
    give_away(theirs)
    (theirs / "file").write_text("")
    assert distrust(theirs / "file") == f"{theirs} belongs to another user"


@as_root
def test_what_is_roots_is_believed_by_all(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: STRANGER)
    assert distrust(kept) is None
    give_away(kept)
    assert distrust(kept) is None
    monkeypatch.setattr(os, "getuid", lambda: STRANGER + 1)
    assert distrust(kept) == f"{kept} belongs to another user"


# --- links --------------------------------------------------------------------------------------


def test_a_kept_file_is_no_link(kept: Path) -> None:
    elsewhere = kept.rename(kept.parents[2] / "elsewhere.js")
    kept.symlink_to(elsewhere)
    assert kept_files("page", "*.js") == []
    with pytest.raises(OSError):
        open_kept(kept)


def test_a_folder_may_be_reached_through_a_link_of_ours(tmp_path: Path) -> None:
    """As ~/.cache is, where homes are small."""
    place = tmp_path / "disk" / "page"
    place.mkdir(parents=True, mode=0o700)
    (tmp_path / "cache").symlink_to("x/../disk")
    (tmp_path / "x").mkdir()
    assert writable_cache_folder("page") == tmp_path / "cache" / "page"
    (tmp_path / "disk").chmod(0o777)
    assert distrust(tmp_path / "cache" / "page") == (
        f"{tmp_path / 'disk'} can be written by other users"
    )


@as_root
def test_a_link_of_another_user_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    give_away(tmp_path / "link")
    assert distrust(tmp_path / "link") == f"{tmp_path / 'link'} belongs to another user"


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "is a circle of links" in str(distrust(tmp_path / "a" / "c"))


# --- what is no file ----------------------------------------------------------------------------


def test_a_pipe_is_refused_without_waiting_for_its_other_end(kept: Path) -> None:
    kept.unlink()
    os.mkfifo(kept)
    with pytest.raises(PermissionError, match="is neither a file nor a folder"):
        open_kept(kept)
    with pytest.raises(FileNotFoundError):
        open_kept(kept.with_name("absent"))


def test_a_folder_in_the_place_of_a_file_is_refused(kept: Path) -> None:
    kept.unlink()
    kept.mkdir()
    with pytest.raises(OSError):
        read_kept(kept)


def test_a_refused_file_leaves_no_descriptor_open(kept: Path) -> None:
    kept.chmod(0o666)
    before = descriptors()
    for _ in range(5):
        with pytest.raises(PermissionError):
            open_kept(kept)
    assert descriptors() == before


def descriptors() -> int:
    """How many are open; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


# --- a folder that is written to ----------------------------------------------------------------


def test_what_others_left_is_removed_once_the_folder_is_ours(kept: Path) -> None:
    folder = kept.parent
    folder.chmod(0o755)
    (folder / "open.js").write_text("")
    (folder / "open.js").chmod(0o666)
    (folder / "link.js").symlink_to(kept)
    (folder / "tree" / "deep").mkdir(parents=True)
    (folder / "tree").chmod(0o777)
    assert writable_cache_folder("page") == folder
    assert [each.name for each in folder.iterdir()] == ["kept.js"] and kept.exists()


def test_children_share_the_folder_that_stands_in(kept: Path) -> None:
    assert child_variables() == {}
    kept.parent.chmod(0o777)
    folder = writable_cache_folder("page")
    assert child_environment()["TOPOUT_CACHE"] == str(folder.parent)
    assert child_environment({"TOPOUT_CACHE": "/other"})["TOPOUT_CACHE"] == "/other"


def test_no_folder_is_private_below_one_that_all_can_change(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "open"))
    kept.parent.chmod(0o777)
    with pytest.raises(OutputError, match=r"there is no private folder: .*Set TOPOUT_CACHE"):
        writable_cache_folder("page")


# --- the cache of torch.compile -----------------------------------------------------------------


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What TORCHINDUCTOR_CACHE_DIR names, with a graph in it."""
    folder = tmp_path / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    assert compiler_cache_folder() == folder and folder.stat().st_mode & 0o777 == 0o700
    (folder / "ab").mkdir()
    (folder / "ab" / "graph").write_text("pickle")
    (folder / "ab" / "graph").chmod(0o664)  # by the umask of a private group
    assert compiler_cache_folder() == folder
    return folder


def test_without_a_name_it_is_in_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert compiler_cache_folder() == cache / "inductor"


def test_a_graph_that_another_can_change_is_not_loaded(
    compiled: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled.chmod(0o755)  # others may enter, and the graph's group can write to it
    assert compiler_cache_folder() == cache / "inductor"
    told = capsys.readouterr().err
    assert told.startswith(f"topout: {compiled / 'ab' / 'graph'} can be written by other users")
    assert "TORCHINDUCTOR_CACHE_DIR" in told and told.count("\n") == 1
    (compiled / "ab" / "graph").chmod(0o644)
    assert compiler_cache_folder() == compiled
    compiled.chmod(0o777)
    assert compiler_cache_folder() == cache / "inductor"


def test_graphs_made_under_a_private_groups_umask_stay(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    folder = compiler_cache_folder()
    (folder / "ab").mkdir()
    (folder / "ab").chmod(0o775)
    assert compiler_cache_folder() == folder and (folder / "ab").is_dir()
    folder.chmod(0o755)
    assert compiler_cache_folder() == folder and not (folder / "ab").exists()


@as_root
def test_a_graph_that_is_anothers_is_not_loaded(compiled: Path, cache: Path) -> None:
    give_away(compiled / "ab" / "graph")
    assert compiler_cache_folder() == cache / "inductor"
    own = cache / "inductor" / "ab"
    own.mkdir()
    (own / "graph").write_text("")
    give_away(own / "graph")
    folder = compiler_cache_folder()
    assert not folder.is_relative_to(cache) and folder.name == "inductor"
    assert child_variables() == {"TOPOUT_CACHE": str(folder.parent)}
