"""Where files are kept from one run to the next, and which of them are read again.

Compiled libraries are loaded from there and figures believed, so a file counts only where no other
user can have put it there: it and every folder on the way to it belong to this user or root and
can be written by nobody else. A folder with the sticky bit, such as /tmp, is good enough on the
way: what is ours in it cannot be replaced. Links between folders are followed, and held to the
same; a kept file is none itself.
"""

import atexit
import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from topout.errors import OutputError
from topout.home_folder import NO_HOME, expanded
from topout.progress import say

_VARIABLE = "TOPOUT_CACHE"
_COMPILER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_MOST_LINKS = 40
_FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_stand_ins: dict[Path, Path] = {}  # folders of this process, for caches that could not be used
_told: set[str] = set()


def cache_folder() -> Path:
    """The folder that the user's environment names: TOPOUT_CACHE, else XDG's, else ~/.cache."""
    if own := os.environ.get(_VARIABLE):
        return expanded(own).absolute()
    named = [expanded(each) for each in (os.environ.get("XDG_CACHE_HOME"), "~/.cache") if each]
    # By its specification a relative one is void: it would be a folder of where the user stands.
    absolute = [each for each in named if each.is_absolute()]
    return (absolute or [NO_HOME])[0] / "topout"


def writable_cache_folder(part: str) -> Path:
    """The folder `part` of the cache, created; a private temporary one where that cannot be.

    The temporary folder belongs to this process and its children, and goes with it. What others
    could have put into the folder is removed. Raises OutputError where there is no private folder.
    """
    folder = cache_folder() / part
    try:
        _make(folder)
        if _is_usable(folder) and os.access(folder, os.W_OK | os.X_OK):
            _remove_foreign(folder)
            return folder
    except OSError:
        pass  # read-only, full, or a file in the way
    folder = _private_folder() / part
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def kept_files(part: str, pattern: str) -> list[Path]:
    """The files of a part of the cache that may be read, by name."""
    return sorted(
        file
        for root in (cache_folder(), _stand_ins.get(cache_folder()))
        if root is not None and _is_usable(root / part)
        for file in (root / part).glob(pattern)
        if _is_kept(file)
    )


def read_kept(file: Path) -> bytes:
    """The content of a file of the cache; raises OSError, also where it may be another user's."""
    with os.fdopen(open_kept(file), "rb") as opened:
        return opened.read()


def open_kept(file: Path) -> int:
    """A descriptor of a file of the cache, which was checked itself: nothing can come in between.

    Raises OSError, also where it may be another user's.
    """
    reason = distrust(file.parent)
    # Without waiting for whoever may be at the other end of what is no file.
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    reason = reason or _distrust_entry(file, os.fstat(descriptor))
    if reason is not None:
        os.close(descriptor)
        raise PermissionError(reason)
    return descriptor


def compiler_cache_folder() -> Path:
    """Where torch.compile keeps its graphs: pickles and libraries, which it loads without a look.

    That which TORCHINDUCTOR_CACHE_DIR names, else one of ours; another where anything in it may be
    another user's.
    """
    named = os.environ.get(_COMPILER_VARIABLE)
    if named and _is_usable_tree(Path(named).absolute(), _COMPILER_VARIABLE):
        return Path(named).absolute()
    own = writable_cache_folder("inductor")
    return own if _is_usable_tree(own, _VARIABLE) else _private_folder() / "inductor"


def use_compiler_cache() -> None:
    """Have torch.compile use that folder in this process, not one that anybody can foresee.

    Its own default is `torchinductor_USER` in the folder for temporary files, whoever made that.
    """
    os.environ[_COMPILER_VARIABLE] = str(compiler_cache_folder())


def child_variables() -> dict[str, str]:
    """What a child needs in its environment to share this process's cache."""
    folder = _stand_ins.get(cache_folder())
    return {} if folder is None else {_VARIABLE: str(folder)}


def distrust(path: Path) -> str | None:
    """Why another user could have put there what lies at `path`; None where none could.

    The reason names the folder or file that another can write, or that is another's. Raises OSError
    where there is nothing.
    """
    at, links = Path("/"), 0
    waiting = [part for part in reversed(path.absolute().parts[1:]) if part != "."]
    reason = _distrust_entry(at, os.lstat(at), is_on_the_way=True)
    while waiting and reason is None:
        part = waiting.pop()
        if part == "..":
            at = at.parent  # it holds no links
            continue
        status = os.lstat(at / part)
        reason = _distrust_entry(at / part, status, is_on_the_way=bool(waiting), is_link_fine=True)
        if not stat.S_ISLNK(status.st_mode):
            at = at / part
            continue
        links += 1
        if links > _MOST_LINKS:
            return f"{path} is a circle of links"
        target = (at / part).readlink()
        waiting += [each for each in reversed(target.parts) if each not in ("/", ".")]
        at = Path("/") if target.is_absolute() else at
    return reason


def _distrust_entry(
    path: Path,
    status: os.stat_result,
    *,
    is_on_the_way: bool = False,
    is_link_fine: bool = False,
    is_closed: bool = False,
) -> str | None:
    """The same of a file or folder alone.

    One on the way to it may be open, if it is sticky, and one in a closed folder in any case.
    """
    if status.st_uid not in (0, os.getuid()):
        return f"{path} belongs to another user"
    if stat.S_ISLNK(status.st_mode):
        return None if is_link_fine else f"{path} is a link"
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return f"{path} is neither a file nor a folder"
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & _FOR_OTHERS and not (is_closed or (is_on_the_way and is_sticky)):
        return f"{path} can be written by other users"
    return None


def _is_usable(folder: Path) -> bool:
    """Whether what a folder holds may be believed; one that is there and may not is told once."""
    try:
        return not _told_once(distrust(folder), folder, _VARIABLE)
    except OSError:
        return False


def _is_usable_tree(folder: Path, variable: str) -> bool:
    """The same of a folder, created, with all that is in it at any depth."""
    try:
        _make(folder)
        reason = distrust(folder) or next(_foreign_below(folder), None)
    except OSError:
        return False
    return not _told_once(reason, folder, variable)


def _told_once(reason: str | None, folder: Path, variable: str) -> bool:
    """Whether there is a reason to distrust a folder, which is told."""
    if reason is not None and reason not in _told:
        _told.add(reason)
        say(
            f"topout: {reason}, so nothing that is kept in {folder} is used. "
            f"Make it yours alone (chmod go-w), or set {variable} to a folder that is."
        )
    return reason is not None


def _is_kept(entry: Path) -> bool:
    """Whether what lies in a folder of the cache is ours; also where it has gone meanwhile."""
    try:
        return _distrust_entry(entry, os.lstat(entry)) is None
    except FileNotFoundError:
        return True


def _make(folder: Path) -> None:
    """Create a folder and those above it for this user alone, whatever the umask says."""
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


def _remove_foreign(folder: Path) -> None:
    """Remove entries of the time before a folder was only ours."""
    is_closed = _is_closed(folder)
    for entry in folder.iterdir():
        try:
            if _distrust_entry(entry, os.lstat(entry), is_closed=is_closed) is None:
                continue
        except FileNotFoundError:
            continue  # another process is done with it
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _foreign_below(folder: Path) -> Iterator[str]:
    """Of what in a folder that is ours, at any depth, may be another user's: why."""
    is_closed = _is_closed(folder)
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(at, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                if reason := _distrust_entry(path, status, is_closed=is_closed, is_link_fine=True):
                    yield reason


def _is_closed(folder: Path) -> bool:
    """Whether nobody else may enter: what is in there is safe whatever its own mode."""
    return not folder.stat().st_mode & 0o077


def _private_folder() -> Path:
    """What stands in for the cache in this process, and goes with it; raises OutputError."""
    if cache_folder() not in _stand_ins:
        folder = Path(tempfile.mkdtemp(prefix="topout-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        reason = distrust(folder)
        if reason is not None:
            raise OutputError(
                f"there is no private folder: {reason}.",
                f"Set {_VARIABLE} to a folder that only you can write to.",
            )
        _stand_ins[cache_folder()] = folder
    return _stand_ins[cache_folder()]
