"""Where files are kept from one run to the next: folders that no other user can write to."""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder that the user's environment names: TOPOUT_CACHE, else XDG's, else ~/.cache."""
    if own := os.environ.get("TOPOUT_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "topout"
    return Path("~/.cache/topout").expanduser()


def writable_cache_folder(part: str) -> Path:
    """The folder `part` of the cache, created; a private temporary one where that cannot be.

    The temporary folder belongs to this process and goes with it.
    """
    folder = cache_folder() / part
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_trusted(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass  # read-only, full, or a file in the way
    folder = _private_folder() / part
    folder.mkdir(exist_ok=True)
    return folder


def is_trusted(folder: Path) -> bool:
    """Whether only this user and root can put files there: code is loaded from it."""
    status = folder.stat()
    return status.st_uid in (0, os.getuid()) and not status.st_mode & 0o002


@functools.cache
def _private_folder() -> Path:
    """A folder of this process alone, removed when it ends."""
    folder = tempfile.mkdtemp(prefix="topout-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
