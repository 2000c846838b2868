"""A file that is written whole or not at all; links, devices, pipes and sockets stay what they are.

Each place is checked before any work, and the check leaves it as it was.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from topout.errors import OutputError
from topout.whole_file import (
    check_folder,
    check_place,
    descriptor_of,
    identity,
    whole_file,
    whole_folder,
)


def write(path: Path, text: str = "new", mode: int | None = None) -> None:
    with whole_file(path, mode) as unfinished:
        unfinished.write_text(text)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_it_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("old")
    with whole_file(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("umask", "mode", "expected"),
    [(0o022, None, 0o644), (0o077, None, 0o600), (0o002, None, 0o664), (0o022, 0o600, 0o600)],
)
def test_a_new_file_has_the_mode_that_the_umask_leaves(
    umask: int, mode: int | None, expected: int, tmp_path: Path
) -> None:
    former = os.umask(umask)
    try:
        write(tmp_path / "new", mode=mode)
    finally:
        os.umask(former)
    assert mode_of(tmp_path / "new") == expected


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o777])
def test_an_old_file_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(mode)
    write(path)
    assert (path.read_text(), mode_of(path)) == ("new", mode)


def test_a_file_of_a_cache_has_the_mode_that_it_must_have(tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.write_text("anybody's")
    path.chmod(0o666)
    write(path, mode=0o600)
    assert (path.read_text(), mode_of(path)) == ("new", 0o600)


def test_names_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    check_place("--json", path)
    write(path)
    assert path.read_text() == "new"


def test_a_single_file_that_is_mounted_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container `-v out.json:/out.json`: its name cannot be given to another file."""
    path = tmp_path / "mounted"
    path.write_text("the old one, which is longer")

    def busy(self: Path, target: Path) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    before = path.stat().st_ino
    write(path)
    assert (path.read_text(), path.stat().st_ino) == ("new", before)
    assert list(tmp_path.iterdir()) == [path]


# --- links ----------------------------------------------------------------------------------------


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link, second = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "second"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to("there/target")
    second.symlink_to("link")
    check_place("--json", second)
    write(second)
    assert target.read_text() == "new" and not target.is_symlink()
    assert link.is_symlink() and second.is_symlink()


def test_a_link_to_nothing_yet_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    check_place("--json", tmp_path / "link")
    write(tmp_path / "link")
    assert (tmp_path / "target").read_text() == "new" and (tmp_path / "link").is_symlink()


# --- what is no regular file ----------------------------------------------------------------------


def test_a_device_stays_one() -> None:
    check_place("--json", Path(os.devnull))
    write(Path(os.devnull))
    assert Path(os.devnull).is_char_device()


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    check_place("--json", pipe)
    reader.start()
    write(pipe)
    reader.join()
    assert read == ["new"] and pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_socket_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()
        check_place("--json", Path("socket"))
        write(Path("socket"))
        taken, _ = server.accept()
        with taken:
            assert taken.recv(100) == b"new"
    assert Path("socket").is_socket()


def test_an_open_descriptor_is_written_into_where_it_stands(tmp_path: Path) -> None:
    """`>(process)`, and /dev/stdout in a file: what was printed before stays."""
    path = tmp_path / "shown"
    with path.open("wb", buffering=0) as file:
        file.write(b"before ")
        place = Path(f"/dev/fd/{file.fileno()}")
        check_place("--json", place)
        assert descriptor_of(place) == file.fileno()
        before = path.stat().st_ino
        write(place)
        file.write(b" after")
    assert (path.read_text(), path.stat().st_ino) == ("before new after", before)


def test_standard_output_is_known_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    names = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1"]
    assert [descriptor_of(Path(each)) for each in [*names, tmp_path / "link"]] == [1] * 5
    assert descriptor_of(Path("/dev/stderr")) == 2
    assert descriptor_of(tmp_path / "file") is None and descriptor_of(Path("/dev/null")) is None


# --- what is refused before the work starts -------------------------------------------------------


def a_folder(folder: Path) -> Path:
    return folder


def no_folder(folder: Path) -> Path:
    return folder / "missing" / "file"


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "below"


def link_to_no_folder(folder: Path) -> Path:
    (folder / "link").symlink_to("missing/file")
    return folder / "link"


def circle_of_links(folder: Path) -> Path:
    (folder / "circle").symlink_to("circle")
    return folder / "circle"


def too_long(folder: Path) -> Path:
    return folder / ("n" * 256)


def closed_descriptor(folder: Path) -> Path:
    return Path("/dev/fd/987")


def no_text(folder: Path) -> Path:
    return Path("a\0b")


def where_no_file_can_be(folder: Path) -> Path:
    return Path("/proc/topout.json")


PLACES: list[tuple[Callable[[Path], Path], str]] = [
    (a_folder, "it is a folder"),
    (no_folder, "there is no folder"),
    (below_a_file, "Not a directory"),
    (link_to_no_folder, "there is no folder"),
    (circle_of_links, "symbolic links"),
    (too_long, "File name too long"),
    (closed_descriptor, "Bad file descriptor"),
    (no_text, "null"),
    (where_no_file_can_be, "No such file"),
]


@pytest.mark.parametrize(("place", "why"), PLACES, ids=lambda each: getattr(each, "__name__", ""))
def test_what_cannot_be_written_is_refused_in_one_line(
    place: Callable[[Path], Path], why: str, tmp_path: Path
) -> None:
    path = place(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"^cannot write --json ") as refused:
        check_place("--json", path)
    assert why in str(refused.value) and "\n" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_open_for_reading_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("input")
    with (tmp_path / "file").open() as file, pytest.raises(OutputError, match="reading"):
        check_place("--json", Path(f"/dev/fd/{file.fileno()}"))


def test_a_folder_and_a_file_without_the_right_are_refused() -> None:
    """Asked as a user who is not root, who may do everything, in a folder that all may enter."""
    code = (
        "import os; from pathlib import Path; from topout.errors import OutputError\n"
        "from topout.whole_file import check_place\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "for name in ('closed/new', 'file', 'open/new'):\n"
        "    try: check_place('--json', Path(name))\n"
        "    except OutputError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir()
        (folder / "closed").chmod(0o555)
        (folder / "open").mkdir()
        (folder / "open").chmod(0o777)
        (folder / "file").write_text("old")
        (folder / "file").chmod(0o444)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
        )
    assert done.stdout == (
        "cannot write --json closed/new: Permission denied. Choose another place.\n"
        "cannot write --json file: Permission denied. Choose another place.\n"
    )


def test_the_check_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    before = path.stat()
    check_place("--json", path)
    assert path.stat() == before and list(tmp_path.iterdir()) == [path]


def test_a_folder_for_files_is_checked_there_or_not_yet(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_folder("--tensorboard", tmp_path)
    check_folder("--tensorboard", tmp_path / "new")
    for place in (tmp_path / "file", tmp_path / "missing" / "new", tmp_path / "file" / "new"):
        with pytest.raises(OutputError, match="cannot write --tensorboard"):
            check_folder("--tensorboard", place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_paths_that_mean_the_same_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("there").write_text("")
    os.link("there", "second name")
    Path("link").symlink_to("not yet")
    same = [
        ("there", "second name"),
        ("link", "not yet"),
        ("not yet", "folder/../not yet"),
        ("/dev/stdout", "/dev/fd/1"),
    ]
    for one, other in same:
        assert identity(Path(one)) == identity(Path(other))
    assert identity(Path("there")) != identity(Path("not yet"))


# --- folders --------------------------------------------------------------------------------------


def fill(path: Path) -> None:
    with whole_folder(path) as unfinished:
        (unfinished / "file").write_text("new")
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "file").write_text("inner")


def texts_in(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("file")}


NEW = {"file": "new", "inner/file": "inner"}


def test_a_new_folder_is_there_at_the_end_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "model"
    with whole_folder(path) as unfinished:
        (unfinished / "file").write_text("new")
        assert not path.exists()
    assert texts_in(path) == {"file": "new"} and list(path.parent.iterdir()) == [path]


def test_an_empty_folder_is_filled_and_keeps_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mode, links to it, the shell that stands in it, what is mounted there."""
    path, link = tmp_path / "private", tmp_path / "link"
    path.mkdir(mode=0o700)
    link.symlink_to("private")
    before = path.stat().st_ino
    fill(link)
    assert texts_in(path) == NEW and link.is_symlink()
    assert (path.stat().st_ino, mode_of(path)) == (before, 0o700)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fill(Path())
    assert texts_in(tmp_path / "here") == NEW
    assert sorted(each.name for each in tmp_path.iterdir()) == ["here", "link", "private"]


def test_an_error_leaves_no_part_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(KeyboardInterrupt), whole_folder(path) as unfinished:
            (unfinished / "file").write_text("half")
            raise KeyboardInterrupt
    moves = shutil.move

    def full(source: Path, target: Path) -> None:
        if source.name == "inner":
            raise OSError(28, "No space left on device")
        moves(source, target)

    monkeypatch.setattr("topout.whole_file.shutil.move", full)
    with pytest.raises(OSError, match="No space"):
        fill(tmp_path / "empty")
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]
