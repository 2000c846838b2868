"""What a trace is of, in words: devices, kernels and durations as they are named everywhere."""

from collections.abc import Sequence
from pathlib import PurePath

from topout import units
from topout.records import DeviceTime, TraceReport

HOST = -1  # the device of records that stands for the host
FORMATS = {
    "kineto": "PyTorch (Kineto) JSON",
    "nvprof_csv": "nvprof CSV",
    "nsys_csv": "Nsight Systems CSV",
    "nsys_sqlite": "Nsight Systems SQLite",
}
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


def report_title(report: TraceReport) -> str:
    """The file, the folder that holds them all, or the first and how many more."""
    paths = [PurePath(file) for file in report.files]
    if not paths:
        return "no file"
    if len(paths) == 1:
        return paths[0].name or report.files[0]
    folder = paths[0].parent.name
    if folder and all(path.parent == paths[0].parent for path in paths):
        return f"{folder}, {len(paths)} files"
    return f"{paths[0].name} and {len(paths) - 1} more"


def work_noun(report: TraceReport) -> str:
    """What the time is counted by: "operators" of a trace of the host alone, else "kernels"."""
    on_host = report.ranks and all(each.device == HOST for each in report.ranks)
    return "operators" if on_host else "kernels"


def subject_sentence(report: TraceReport) -> str:
    """The format, how much was read, and whose time it is."""
    formats = [FORMATS.get(each, each) for each in report.format.split(", ")]
    parts = [" and ".join(formats), _counted(len(report.files), "file")]
    parts.append(f"{units.count(report.events)} event{'' if report.events == 1 else 's'}")
    present = {each.rank for each in report.ranks if each.rank is not None}
    if present:
        of = f" of {report.world_size}" if report.world_size not in (None, len(present)) else ""
        parts.append(_counted(len(present), "rank") + of)
    names = sorted({each.name for each in report.ranks if each.name})
    if names:
        parts.append(f"on {', '.join(names)}")
    if report.elapsed_s:
        parts.append(f"read and analysed in {units.seconds(report.elapsed_s)}")
    return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def headline(report: TraceReport) -> str:
    """Where the time of all devices goes, in one sentence."""
    ranks = report.ranks
    wall = sum(each.wall_s for each in ranks)
    if not wall:
        return "Nothing was found that took time."
    if any(each.idle_s is None for each in ranks):
        return f"{_work_of(ranks)} in sum; when it ran is not known."
    shares = {
        "computing": sum(each.compute_s for each in ranks) / wall,
        "communicating with nothing computed": sum(
            each.exposed_communication_s or 0.0 for each in ranks
        )
        / wall,
    }
    words = [f"{name} {units.percent(share)}" for name, share in shares.items() if share >= 0.005]
    what = f" ({', '.join(words)})" if words else ""
    busy = units.percent(sum(each.busy_s for each in ranks) / wall)
    idle = units.percent(sum(each.idle_s or 0.0 for each in ranks) / wall)
    whose = (
        f"{len(ranks)} devices, {_span(ranks)}:"
        if len(ranks) > 1
        else f"In {_span(ranks)} {device_labels(ranks)[0]} is"
    )
    return f"{whose} busy for {busy} of the time{what}, idle for {idle}."


def _work_of(ranks: Sequence[DeviceTime]) -> str:
    of = f"{len(ranks)} devices" if len(ranks) > 1 else device_labels(ranks)[0]
    return f"The work of {of} takes {_span(ranks)}"


def _span(ranks: Sequence[DeviceTime]) -> str:
    least, most = min(each.wall_s for each in ranks), max(each.wall_s for each in ranks)
    if units.seconds(least) == units.seconds(most):
        return units.seconds(most) + (" each" if len(ranks) > 1 else "")
    return f"{units.seconds(least)} to {units.seconds(most)} each"


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
