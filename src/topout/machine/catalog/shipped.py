"""The machines that ship with the program: one JSON file each, every figure with its source."""

import functools
import re
from pathlib import Path

from topout.errors import UnknownNameError
from topout.machine.catalog.check import check_hardware
from topout.records import Hardware, read

DATA_FOLDER = Path(__file__).parent / "data"
# What /proc/cpuinfo adds to a processor's name.
_NOISE = re.compile(r"\((r|tm)\)|@.*|\b(cpu|processor|\d+-core)\b", re.IGNORECASE)


def catalog_names() -> list[str]:
    """The names of the shipped machines, sorted."""
    return sorted(path.stem for path in DATA_FOLDER.glob("*.json"))


@functools.cache
def shipped_hardware(name: str) -> Hardware:
    """The shipped machine of this name; raises UnknownNameError for any other."""
    if name not in catalog_names():
        raise UnknownNameError("machine", name, catalog_names(), "See `topout machine --list`.")
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
    return " ".join(_NOISE.sub(" ", name).lower().split())
