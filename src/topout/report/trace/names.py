"""Devices, kernels and durations as they are named in every table and chart of a trace."""

from collections.abc import Sequence
from pathlib import PurePath

from topout import units
from topout.records import DeviceTime, GroupChange, TraceReport, Transfer

HOST = -1  # the device of records that stands for the host
_LONGEST = 64  # characters of a kernel's name where space is short


def device_labels(ranks: Sequence[DeviceTime]) -> list[str]:
    """A name for each device that no other one has: "rank 3", "GPU 1", "rank 0, GPU 1"."""
    one_each = len({each.rank for each in ranks}) == len(ranks)
    labels = [_label(each, one_each) for each in ranks]
    if len(set(labels)) < len(labels):
        labels = [
            f"{label}, {PurePath(each.file).name}"
            for label, each in zip(labels, ranks, strict=True)
        ]
    if len(set(labels)) < len(labels):
        labels = [f"{label}, no. {number}" for number, label in enumerate(labels, 1)]
    return labels


def _label(device: DeviceTime, one_each: bool) -> str:
    number = "host" if device.device == HOST else f"GPU {device.device}"
    if device.rank is None:
        return number
    return f"rank {device.rank}" if one_each else f"rank {device.rank}, {number}"


def place_label(number: int, unit: str) -> str:
    """One end of a transfer: "rank 3", "GPU 0", "host"."""
    if number == HOST:
        return "host"
    return f"rank {number}" if unit == "rank" else f"GPU {number}"


def work_noun(report: TraceReport) -> str:
    """What the time is counted by: "operators" of a trace of the host alone, else "kernels"."""
    on_host = report.ranks and all(each.device == HOST for each in report.ranks)
    return "operators" if on_host else "kernels"


def milliseconds(value_s: float) -> str:
    """Seconds in ms without the unit: 0.45 → "450", 1263.133 → "1,263,133"."""
    value = value_s * 1e3
    return f"{value:,.0f}" if abs(value) >= 1000 else units.significant(value)


def short_kernel(name: str, longest: int = _LONGEST) -> str:
    """A kernel's name without its return type and parameter list, cut in the middle.

    Both ends stay: the beginning says what it is, the end which of its instances.
    """
    name = _without_parameters(name.removeprefix("void "))
    if len(name) <= longest:
        return name
    head = (longest - 1) * 2 // 3
    return f"{name[:head]}…{name[-(longest - 1 - head) :]}"


def _without_parameters(name: str) -> str:
    """Cuts "(int, float*)" after a name or template, not the "(Pinned -> Device)" of a copy."""
    if not name.endswith(")"):
        return name
    depth = 0
    for place in range(len(name) - 1, -1, -1):
        depth += (name[place] == ")") - (name[place] == "(")
        if depth == 0:
            before = name[place - 1] if place else ""
            return name[:place] if before == ">" or before.isalnum() or before == "_" else name
    return name


def places_of(transfers: Sequence[Transfer]) -> list[int]:
    """All ends of transfers, ascending; the host, where it takes part, is the first."""
    return sorted({end for each in transfers for end in (each.source, each.destination)})


def signed(change_s: float) -> str:
    """A change in ms with its sign: "+12.0", "−3.40", "0"."""
    if change_s == 0:
        return "0"
    return ("+" if change_s > 0 else "\N{MINUS SIGN}") + milliseconds(abs(change_s))


def largest_changes(changes: Sequence[GroupChange], most: int | None = None) -> list[GroupChange]:
    """Changes by their size, slower or faster; at most `most`."""
    return sorted(changes, key=lambda each: (-abs(each.change_s), each.name))[:most]
