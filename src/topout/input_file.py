"""What a user names, opened and read: never waited for without end, never beyond a bound.

Every reader of files that come from elsewhere opens them here. A fault is an OSError whose
`strerror` says why, so that each reader tells it in its own words.
"""

import errno
import io
import json
import os
import re
import select
import stat
from pathlib import Path
from typing import Any, BinaryIO

PIPE_SILENCE_S = 60.0  # a pipe that gives nothing for so long is given up
MOST_DEPTH = 64  # of JSON: configs and records have 10 levels
_LONG_NUMBER = re.compile(rb"[0-9]{309}")  # such a number may be beyond what a float holds
MOST_CONFIG_BYTES = 16 << 20
MOST_RECORD_BYTES = 256 << 20
MOST_TEXT_BYTES = 1 << 30


def open_input(path: Path, *, again: bool = False) -> BinaryIO:
    """A file, or a pipe such as `<(…)` that something writes to, open for reading.

    `again`: it is read more than once, which a pipe cannot be. Raises OSError for a folder, a
    device, a socket, a pipe that nothing writes to or that stays silent for a minute.
    """
    mode = path.stat().st_mode  # before opening, which some devices act upon
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise _refused(path, "it is a device, whose end is unknown")
    if again and stat.S_ISFIFO(mode):
        raise _refused(path, "it is a pipe, and is read twice: write it to a file first")
    # Without O_NONBLOCK a pipe that nothing writes to is waited for when it is opened.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISFIFO(mode):
            return io.BufferedReader(_Pipe(path, descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_input(path: Path, most_bytes: int) -> bytes:
    """All that a file or pipe holds; raises OSError as `open_input`, and where it holds more."""
    with open_input(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise _refused(path, f"it holds more than {most_bytes >> 20} MiB")
    return data


def is_there(path: Path) -> bool:
    """Whether something lies at a path; False for what can be none, such as a name too long."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _refused(path: Path, reason: str) -> OSError:
    return OSError(errno.EINVAL, reason, str(path))


class _Pipe(io.RawIOBase):
    """The reading end of a pipe; one that nothing ever came from is refused."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._is_empty = True

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes; 0 at the end, which all that wrote have to reach."""
        while True:
            try:
                count = os.readv(self._descriptor, [buffer])
                break
            except BlockingIOError:
                if not select.select([self._descriptor], [], [], PIPE_SILENCE_S)[0]:
                    reason = f"nothing was written to this pipe for {PIPE_SILENCE_S:g} s"
                    raise _refused(self._path, reason) from None
        if not count and self._is_empty:
            raise _refused(self._path, "nothing writes to this pipe")
        self._is_empty = False
        return count

    def close(self) -> None:
        """Give the pipe back."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def parse_json(data: bytes | str) -> Any:
    """What JSON holds, as Python reads it; also JSON of Hugging Face, which may say Infinity.

    Raises ValueError that says what is wrong: a key that stands twice in an object, more than
    `MOST_DEPTH` levels, or no JSON.
    """
    if _LONG_NUMBER.search(data if isinstance(data, bytes) else data.encode(errors="replace")):
        raise ValueError("a number of more than 308 digits, which no figure has")
    try:
        found = json.loads(data, object_pairs_hook=_without_doubles)
    except RecursionError:
        found = None
        too_deep = True
    else:
        too_deep = _is_deeper(found, MOST_DEPTH)
    if too_deep:
        raise ValueError(f"nested in more than {MOST_DEPTH} levels")
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members; of two values under one key neither could be preferred."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
    return found


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return False
        parts = (each.values() if isinstance(each, dict) else each for each in level)
        level = [part for inside in parts for part in inside]
    return True
