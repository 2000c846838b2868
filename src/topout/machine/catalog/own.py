"""The user's own machines: one file each in a folder of theirs."""

import os
import re
from pathlib import Path

import msgspec

from topout.errors import InputError, OutputError
from topout.machine.catalog.check import check_hardware
from topout.machine.catalog.shipped import catalog_names
from topout.records import Hardware, write

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# What `--on here` means is the machine that the program runs on.
_RESERVED = "here"


def saved_folder() -> Path:
    """Where own machines are kept: below TOPOUT_HOME, else in XDG's folder for a program's data.

    That is $XDG_DATA_HOME/topout/machines, by default ~/.local/share/topout/machines.
    """
    if home := os.environ.get("TOPOUT_HOME"):
        return Path(home).expanduser() / "machines"
    shared = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(shared).expanduser() / "topout" / "machines"


def saved_names() -> list[str]:
    """The names of the user's own machines, sorted."""
    return sorted(path.stem for path in saved_folder().glob("*.json") if _NAME.fullmatch(path.stem))


def save_hardware(hardware: Hardware, name: str) -> Path:
    """Keep `hardware` under `name`, over an older one of that name; returns its file.

    Raises InputError for a name that is not plain or belongs to a shipped machine, RecordError
    for figures that cannot be, OutputError when the file cannot be written.
    """
    _check_name(name)
    renamed = msgspec.structs.replace(hardware, name=name)
    check_hardware(renamed, f"machine {name!r}")
    folder = saved_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make {folder}: {error.strerror}.", "Set TOPOUT_HOME to a folder of yours."
        ) from None
    path = folder / f"{name}.json"
    write(renamed, path)
    return path


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.endswith(".json"):
        raise InputError(
            f"{name!r} cannot name a machine.",
            "Use up to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first, no '.json'.",
        )
    if name == _RESERVED:
        raise InputError(
            f"{name!r} means the machine that topout runs on.", "Choose a name such as 'laptop'."
        )
    if name in catalog_names():
        raise InputError(
            f"{name!r} is a machine of the catalog.", f"Choose another name, such as 'my-{name}'."
        )
