"""A machine by its name or its file: those that ship with the program, and the user's own.

Each is one JSON file, whose figures are positive, whole and free of contradictions; those that ship
state the source of every figure.
"""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from topout.errors import InputError, OutputError, UnknownNameError
from topout.home_folder import expanded
from topout.machine.figures import check_figures, check_rates, fault
from topout.records import Hardware, Record, read, write
from topout.whole_file import check_place

DATA_FOLDER = Path(__file__).parent / "data"
# What /proc/cpuinfo adds to a processor's name.
_NOISE_IN_NAMES = re.compile(r"\((r|tm)\)|@.*|\b(cpu|processor|\d+-core)\b", re.IGNORECASE)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# What `--on here` means is the machine that the program runs on.
_RESERVED = "here"
_REMEDY = "See `topout machine list`, or give the path of a machine file (*.json)."
# Boost clocks carry good specimens above the datasheet's rate, but not by more.
_MOST_OVER_SPEC = 1.25
_CACHE_NAME = re.compile(r"L[0-4]", re.IGNORECASE)


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
        return expanded(home) / "machines"
    shared = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return expanded(shared) / "topout" / "machines"


def saved_names() -> list[str]:
    """The names of the user's own machines, sorted."""
    return sorted(path.stem for path in saved_folder().glob("*.json") if _NAME.fullmatch(path.stem))


def place_of(name: str) -> Path:
    """The file in which an own machine is kept, in a folder that is made where it is not there.

    Raises InputError for a name that is not plain or belongs to a shipped machine, OutputError when
    the file could not be written.
    """
    check_name(name)
    folder = saved_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make {folder}: {error.strerror}.", "Set TOPOUT_HOME to a folder of yours."
        ) from None
    path = folder / f"{name}.json"
    check_place("the machine", path)
    return path


def save_hardware(hardware: Hardware, name: str) -> Path:
    """Keep `hardware` under `name`, over an older one of that name; returns its file.

    Raises as `place_of`, RecordError for figures out of range, and OutputError when the file cannot
    be written.
    """
    path = place_of(name)
    renamed = msgspec.structs.replace(hardware, name=name)
    check_hardware(renamed, f"machine {name!r}")
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
        return read_hardware(expanded(name))
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


def check_hardware(hardware: Hardware, source: str, sourced: bool = False) -> None:
    """Raise RecordError that names `source` and the field of the first thing that cannot be.

    Refused are figures that are not finite and above zero, those of measured ceilings and rates
    included, rates above the ceilings, a machine without main memory as its last level,
    a data type and unit or a level or a link that is there twice, and a measured rate well above
    the datasheet's. Missing figures are accepted. With `sourced`, as in the shipped catalog,
    each figure needs its source, and the other way round.
    """
    check_figures(hardware, source)
    _check_memory(hardware, source)
    _check_twins(hardware, source)
    for path, part in _rated_parts(hardware):
        _check_measured(path, part, source)
    if hardware.ceilings is not None:
        for rates in hardware.rates:
            check_rates(rates, hardware.ceilings, f"{source}: rates of {rates.architecture}")
    if sourced:
        _check_sources(hardware, source)


def _rated_parts(hardware: Hardware) -> list[tuple[str, Record]]:
    """(path, part) of every part that has rates: peaks, levels, links."""
    groups: dict[str, Iterable[Record]] = {
        "compute": hardware.compute,
        "levels": hardware.levels,
        "links": hardware.links,
    }
    return [
        (f"{group}[{i}]", part) for group, parts in groups.items() for i, part in enumerate(parts)
    ]


def _check_memory(hardware: Hardware, source: str) -> None:
    """Main memory has to be there, last, and as large as the machine says."""
    levels = hardware.levels
    if not levels or _CACHE_NAME.fullmatch(levels[-1].name):
        raise fault(
            source,
            "levels",
            "has no main memory as its last entry",
            'Add one such as {"name": "DRAM", "spec_bytes_per_s": 51.2e9}.',
        )
    capacity = levels[-1].capacity_bytes
    if capacity is not None and capacity != hardware.memory_bytes:
        raise fault(
            source,
            f"levels[{len(levels) - 1}].capacity_bytes",
            f"is {capacity}, but `memory_bytes` is {hardware.memory_bytes}",
            "Give main memory one size.",
        )


def _check_twins(hardware: Hardware, source: str) -> None:
    """No data type and unit, no level, no link twice: which of them would hold?"""
    kinds = {
        "compute": [f"{each.dtype} {each.unit}" for each in hardware.compute],
        "levels": [each.name for each in hardware.levels],
        "links": [each.name for each in hardware.links],
    }
    for path, names in kinds.items():
        name, count = Counter(names).most_common(1)[0] if names else ("", 0)
        if count > 1:
            raise fault(source, path, f"has {name!r} {count} times", "Keep one of them.")
    for i, link in enumerate(hardware.links):
        if link.devices is not None and link.devices < 2:
            raise fault(
                source, f"links[{i}].devices", f"is {link.devices}", "A link joins 2 or more."
            )


def _check_measured(path: str, part: Record, source: str) -> None:
    rate = next(field for field in part.__struct_fields__ if field.startswith("spec_"))
    unit = rate.removeprefix("spec_")
    spec, measured = getattr(part, rate), getattr(part, f"achievable_{unit}")
    if spec is not None and measured is not None and measured > _MOST_OVER_SPEC * spec:
        raise fault(
            source,
            f"{path}.achievable_{unit}",
            f"is {measured:g}, {measured / spec:.2f} times what `spec_{unit}` allows",
            "Correct whichever is wrong; rates are per second, without sparsity.",
        )


def _check_sources(hardware: Hardware, source: str) -> None:
    """Every figure with a source, every source with a figure."""
    pairs: list[tuple[str, Any, str, Any]] = [
        ("memory_bytes", hardware.memory_bytes, "memory_source", hardware.memory_source),
        ("cores", hardware.cores, "source", hardware.source),
    ]
    for path, part in _rated_parts(hardware):
        for field in part.__struct_fields__:
            if field.endswith("_source"):
                stem = field.removesuffix("_source")
                figure = next(
                    other
                    for other in part.__struct_fields__
                    if other.startswith(f"{stem}_") and other != field
                )
                pairs.append(
                    (f"{path}.{figure}", getattr(part, figure), field, getattr(part, field))
                )
    for path, value, field, text in pairs:
        if (value is None) != (not text):
            what = f"has no source in `{field}`" if value is not None else "is not there"
            raise fault(source, path, what, "The catalog states a figure and its source together.")
