"""A machine by its name or its file."""

from pathlib import Path

from topout.errors import UnknownNameError
from topout.machine.catalog.check import check_hardware
from topout.machine.catalog.own import saved_folder, saved_names
from topout.machine.catalog.shipped import catalog_names, shipped_hardware
from topout.records import Hardware, read

_REMEDY = "See `topout machine --list`, or give the path of a machine file (*.json)."


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
