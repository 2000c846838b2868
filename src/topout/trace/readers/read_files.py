"""Which files to read: those that are named, and all in folders that are."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from topout.errors import InputError


class Found(NamedTuple):
    """A file, and whether it was named itself: then it must be a trace."""

    path: Path
    was_named: bool


def files_of(paths: Sequence[Path]) -> list[Found]:
    """All files of `paths`, each once, folders with what they hold in the order of numbers.

    Hidden files and folders are passed over. Raises InputError for a path that is not there, for
    an empty folder, and where no path is given.
    """
    if not paths:
        raise InputError("no trace is given.", "Name files, or folders with one file per rank.")
    found: dict[Path, Found] = {}
    for path in paths:
        for each in _files_at(path):
            place = each.path.resolve()
            if place not in found or each.was_named:
                found[place] = each
    return list(found.values())


def _files_at(path: Path) -> list[Found]:
    if not path.exists():
        raise InputError(f"{path} does not exist.", "Give a trace file, or a folder of them.")
    if not path.is_dir():
        return [Found(path, was_named=True)]
    found = [Found(each, was_named=False) for each in sorted(_inside(path), key=_by_number)]
    if not found:
        raise InputError(f"{path} is empty.", "Give the folder that the profiler wrote to.")
    return found


def _inside(folder: Path) -> Iterator[Path]:
    try:
        for path in folder.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if not hidden and path.is_file():
                yield path
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror or error}.", "Give a folder you may read."
        ) from None


def _by_number(path: Path) -> list[tuple[int, str]]:
    """rank2 before rank10."""
    return [
        (int(part), "") if part.isdigit() and part.isascii() else (-1, part)
        for part in re.split(r"([0-9]{1,18})", str(path))
    ]
