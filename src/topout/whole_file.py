"""Files and folders that are written whole or not at all: a reader sees the old or the new.

A link stays, and what it points to is replaced. What is no regular file (/dev/null, a pipe, a
socket, /dev/stdout) is written into: it cannot be replaced without being lost.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from topout.errors import OutputError

_DESCRIPTOR = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd/(\d+)")
_MOST_LINKS = 40  # as Linux has it


@contextlib.contextmanager
def whole_file(path: Path, mode: int | None = None) -> Iterator[Path]:
    """The place to write to in the `with` block, which becomes `path` at its end.

    After an error nothing is left of it, and `path` is what it was. A regular file has `mode` then;
    by default an old one keeps its mode and owner, and a new one has what the umask leaves. Raises
    OSError where nothing can be written.
    """
    if not _is_replaced(path):
        with tempfile.TemporaryDirectory(prefix="topout-") as folder:
            unfinished = Path(folder, "unfinished")
            yield unfinished
            _pour(unfinished, path)
        return
    target = Path(os.path.realpath(path))
    unfinished = _new_file(target.parent, 0o666 if mode is None else mode)
    try:
        yield unfinished
        if mode is None:
            _keep_rights(target, unfinished)
        _replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The folder to write into in the `with` block, which becomes `path` at its end.

    One that is there must be empty, and is filled: it may be mounted, or be the current folder.
    After an error nothing is left. Raises OSError where nothing can be written.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / _free_name()
    unfinished.mkdir()
    moved: list[Path] = []
    try:
        yield unfinished
        if not target.exists():
            unfinished.rename(target)
            return
        for entry in sorted(unfinished.iterdir()):
            moved.append(target / entry.name)
            shutil.move(entry, moved[-1])
    except BaseException:
        for entry in moved:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_place(option: str, path: Path) -> None:
    """Raise OutputError where `whole_file` could not write; what was there stays as it is."""
    with _refusing(option, path):
        number = descriptor_of(path)
        if number is not None:
            _check_descriptor(number)
            return
        there = _status(path)
        if there is not None:
            _check_there(path, there)
        if there is None or stat.S_ISREG(there.st_mode):
            _check_parent(Path(os.path.realpath(path)).parent)


def check_folder(option: str, path: Path) -> None:
    """Raise OutputError where no file could be put into a folder that is there, or is to be."""
    with _refusing(option, path):
        if _status(path) is not None and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder")
        _check_parent(path if path.is_dir() else Path(os.path.realpath(path)).parent)


def descriptor_of(path: Path) -> int | None:
    """The open descriptor of this process that a path means, such as /dev/stdout and /dev/fd/3."""
    place = path
    for _ in range(_MOST_LINKS):
        try:
            place = Path(os.path.realpath(place.parent)) / place.name
            found = _DESCRIPTOR.fullmatch(str(place))
            if found:
                return int(found[2]) if int(found[1]) == os.getpid() else None
            place = place.parent / place.readlink()
        except OSError:  # no link
            return None
    return None


def identity(path: Path) -> tuple[object, ...]:
    """What two paths have in common that mean the same file, there already or not yet."""
    number = descriptor_of(path)
    with contextlib.suppress(OSError):
        status = path.stat() if number is None else os.fstat(number)
        return status.st_dev, status.st_ino
    return (os.path.realpath(path),)


@contextlib.contextmanager
def _refusing(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise OutputError(
            f"cannot write {option} {path}: {why}.", "Choose another place."
        ) from None


def _check_descriptor(number: int) -> None:
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "it is open for reading only")


def _check_there(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if stat.S_ISBLK(status.st_mode):
        raise PermissionError(errno.EPERM, "it is a disk, whose content would be lost")
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_parent(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")
    _new_file(folder, 0o600).unlink()  # what would refuse, refuses that: rights, a full disk, /proc


def _is_replaced(path: Path) -> bool:
    """Whether it is a regular file, or none yet, and no open one of this process."""
    if descriptor_of(path) is not None:
        return False
    there = _status(path)
    return there is None or stat.S_ISREG(there.st_mode)


def _status(path: Path) -> os.stat_result | None:
    """That of what a path leads to; None where nothing is there yet.

    Raises OSError for a circle of links, a name too long and a folder that may not be entered.
    """
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _new_file(folder: Path, mode: int) -> Path:
    """An empty file of a name that no other has, in the folder of what it is to become."""
    path = folder / _free_name()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(path, flags, mode))
    return path


def _free_name() -> str:
    return f".topout-{secrets.token_hex(8)}"


def _keep_rights(target: Path, unfinished: Path) -> None:
    there = _status(target)
    if there is not None:
        with contextlib.suppress(PermissionError):  # of another owner, in a group of ours
            os.chown(unfinished, there.st_uid, there.st_gid)
        unfinished.chmod(stat.S_IMODE(there.st_mode))


def _replace(unfinished: Path, target: Path) -> None:
    try:
        unfinished.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:  # a single file that was mounted into a container
            raise
        _pour(unfinished, target)


def _pour(source: Path, path: Path) -> None:
    with source.open("rb") as content, open(_opened(path), "wb") as into:
        shutil.copyfileobj(content, into)


def _opened(path: Path) -> int:
    """A descriptor of what is there, to be written into."""
    number = descriptor_of(path)
    if number is not None:
        return os.dup(number)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as listener:
            listener.connect(str(path))
            return os.dup(listener.fileno())
    return os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
