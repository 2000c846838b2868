"""What a machine file may say: figures that are positive, whole and free of contradictions."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from topout.errors import RecordError
from topout.records import Hardware, Record

# Boost clocks carry good specimens above the datasheet's rate, but not by more.
_MOST_OVER_SPEC = 1.25
_CACHE_NAME = re.compile(r"L[0-4]", re.IGNORECASE)
_CORRECT = "Correct the figure, or leave it out and say why in `reasons`."


def check_hardware(hardware: Hardware, source: str, sourced: bool = False) -> None:
    """Raise RecordError that names `source` and the field of the first thing that cannot be.

    Refused are figures that are not above zero, a machine without main memory as its last level,
    a data type and unit or a level or a link that is there twice, and a measured rate well above
    the datasheet's. Missing figures are accepted. With `sourced`, as in the shipped catalog,
    each figure needs its source, and the other way round.
    """
    for path, value in _figures(hardware):
        if not (math.isfinite(value) and value > 0):
            raise _fault(source, path, f"is {value:g}; it has to be above 0", _CORRECT)
    _check_memory(hardware, source)
    _check_twins(hardware, source)
    for path, part in _rated_parts(hardware):
        _check_measured(path, part, source)
    if sourced:
        _check_sources(hardware, source)


def _figures(hardware: Hardware) -> Iterator[tuple[str, float]]:
    """(path, value) of every figure of the machine, its levels, peaks and links."""
    for path, record in [("", hardware), *_rated_parts(hardware)]:
        for field in record.__struct_fields__:
            value = getattr(record, field)
            if isinstance(value, int | float) and field != "schema_version":
                yield f"{path}.{field}".lstrip("."), value


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
        raise _fault(
            source,
            "levels",
            "has no main memory as its last entry",
            'Add one such as {"name": "DRAM", "spec_bytes_per_s": 51.2e9}.',
        )
    capacity = levels[-1].capacity_bytes
    if capacity is not None and capacity != hardware.memory_bytes:
        raise _fault(
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
            raise _fault(source, path, f"has {name!r} {count} times", "Keep one of them.")
    for i, link in enumerate(hardware.links):
        if link.devices is not None and link.devices < 2:
            raise _fault(
                source, f"links[{i}].devices", f"is {link.devices}", "A link joins 2 or more."
            )


def _check_measured(path: str, part: Record, source: str) -> None:
    rate = next(field for field in part.__struct_fields__ if field.startswith("spec_"))
    unit = rate.removeprefix("spec_")
    spec, measured = getattr(part, rate), getattr(part, f"achievable_{unit}")
    if spec is not None and measured is not None and measured > _MOST_OVER_SPEC * spec:
        raise _fault(
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
            raise _fault(source, path, what, "The catalog states a figure and its source together.")


def _fault(source: str, path: str, what: str, remedy: str) -> RecordError:
    return RecordError(f"{source}: `{path}` {what}.", remedy)
