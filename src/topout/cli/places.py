"""The files that a command is to write: each can be, none twice, and none that it reads."""

import contextlib
import itertools
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from topout.errors import OutputError
from topout.options import Request, fields_of
from topout.whole_file import check_place, descriptor_of, identity

STANDARD_OUTPUT = "-"
_ANOTHER = "Name another file."
_HEAD_BYTES = 1024  # of a record: it begins with its kind and version


def is_standard_output(path: str | Path | None) -> bool:
    """Whether it is "-" or a name of standard output, such as /dev/stdout."""
    return path is not None and (str(path) == STANDARD_OUTPUT or descriptor_of(Path(path)) == 1)


def check_places(*options: Request) -> None:
    """Raise OutputError for a file that cannot be written, or that would be lost by it."""
    places = list(_places(options))
    for flag, path in places:
        check_place(flag, path)
    for (flag, path), (other, same) in itertools.combinations(places, 2):
        if identity(path) == identity(same) and not _swallows(path):
            raise OutputError(f"{flag} and {other} both name {path}.", _ANOTHER)
    inputs = {identity(path) for path in _inputs(options)}
    for flag, path in places:
        if identity(path) in inputs:
            raise OutputError(f"{flag} {path} is a file that is read.", _ANOTHER)
        if _is_foreign(path) and identity(path.resolve().parent) in inputs:
            raise OutputError(f"{flag} {path} is a file of a folder that is read.", _ANOTHER)
        if descriptor_of(path) is None and _is_shown_in(path):
            raise OutputError(f"{flag} {path} is where standard output goes.", _ANOTHER)


def takes_standard_output(*options: Request) -> bool:
    """Whether a page or a picture is written into standard output, so that nothing is shown."""
    return any(is_standard_output(path) for flag, path in _places(options) if flag != "--json")


def _places(options: tuple[Request, ...]) -> Iterator[tuple[str, Path]]:
    """Flags with the files that they name; "-" is left out: that is what is shown."""
    for each in options:
        for field in fields_of(type(each)):
            value = getattr(each, field.name)
            if field.option.writes and value not in (None, STANDARD_OUTPUT):
                yield field.flag, Path(value)


def _inputs(options: tuple[Request, ...]) -> Iterator[Path]:
    """What options name and is there: a text may be the name of a model as well."""
    for each in options:
        for field in fields_of(type(each)):
            if not field.option.writes:
                yield from filter(_is_there, _paths(getattr(each, field.name)))


def _paths(value: Any) -> list[Path]:
    values = value if isinstance(value, list | tuple) else [value]
    return [Path(each) for each in values if isinstance(each, str | os.PathLike)]


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):  # a text that is no path
        return False


def _is_foreign(path: Path) -> bool:
    """Whether a file that is there may be another's: neither a picture or page nor a record."""
    if not path.is_file() or path.suffix in (".html", ".svg", ".png"):
        return False
    with contextlib.suppress(OSError), path.open("rb") as file:
        return b"topout_version" not in file.read(_HEAD_BYTES)
    return True


def _swallows(path: Path) -> bool:
    """Whether what is written twice does no harm: /dev/null."""
    return path.exists() and stat.S_ISCHR(path.stat().st_mode)


def _is_shown_in(path: Path) -> bool:
    """Whether standard output was sent into this very file: what is shown would be lost."""
    try:
        shown = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISREG(shown.st_mode) and identity(path) == (shown.st_dev, shown.st_ino)
