"""A machine by its name or its file: those that ship with the program, and the user's own.

Each is one JSON file; those that ship state the source of every figure.
"""

import functools
import os
import re
from pathlib import Path

import msgspec

from topout.errors import InputError, OutputError, UnknownNameError
from topout.machine.catalog.check import check_hardware
from topout.records import Hardware, read, write

DATA_FOLDER = Path(__file__).parent / "data"
# What /proc/cpuinfo adds to a processor's name.
_NOISE_IN_NAMES = re.compile(r"\((r|tm)\)|@.*|\b(cpu|processor|\d+-core)\b", re.IGNORECASE)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# What `--on here` means is the machine that the program runs on.
_RESERVED = "here"
_REMEDY = "See `topout machine list`, or give the path of a machine file (*.json)."


def catalog_names() -> list[str]:
    """The names of the shipped machines, sorted."""
    return sorted(path.stem for path in DATA_FOLDER.glob("*.json"))


@functools.cache
def shipped_hardware(name: str) -> Hardware:
    """The shipped machine of this name; raises UnknownNameError for any other."""
    if name not in catalog_names():
        raise UnknownNameError("machine", name, catalog_names(), "See `topout machine list`.")
    path = DATA_FOLDER / f"{name}.json"
    hardware = read(path, Hardware)
    check_hardware(hardware, str(path), sourced=True)
    return hardware


def same_device(reported_name: str) -> Hardware | None:
    """The shipped machine that a driver or /proc/cpuinfo calls `reported_name`, if there is one."""
    wanted = _plain(reported_name)
    for name in catalog_names():
        hardware = shipped_hardware(name)
        if wanted in map(_plain, [hardware.full_name, *hardware.reported_names]):
            return hardware
    return None


def _plain(name: str) -> str:
    return " ".join(_NOISE_IN_NAMES.sub(" ", name).lower().split())


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
    for figures out of range, OutputError when the file cannot be written.
    """
    check_name(name)
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


def check_name(name: str) -> None:
    """Raise InputError for a name that is not plain, is "here", or belongs to a shipped machine."""
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


def find_hardware(name: str) -> Hardware:
    """The machine of this name: the user's own first, then the catalog's; or that of a file.

    A name in capitals is as good. What ends in `.json` or holds a slash is a path. Raises
    UnknownNameError that offers the nearest names, RecordError that names a file and its field.
    """
    if name.endswith(".json") or "/" in name or "\\" in name:
        return read_hardware(Path(name).expanduser())
    key = name.strip().lower()
    if key in saved_names():
        return read_hardware(saved_folder() / f"{key}.json")
    if key in catalog_names():
        return shipped_hardware(key)
    raise UnknownNameError("machine", name, [*saved_names(), *catalog_names()], _REMEDY)


def known_hardware() -> list[Hardware]:
    """All machines that have a name: the user's own, then the catalog's.

    Raises RecordError that names the file when one of the user's own cannot be read.
    """
    own = [read_hardware(saved_folder() / f"{name}.json") for name in saved_names()]
    return own + [shipped_hardware(name) for name in catalog_names()]


def read_hardware(path: Path) -> Hardware:
    """The machine in a file; raises RecordError that names the file and the field."""
    hardware = read(path, Hardware)
    check_hardware(hardware, str(path))
    return hardware
