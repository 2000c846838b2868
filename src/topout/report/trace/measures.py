"""Devices and kernels as every table and chart names them, and the figures of each device."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from topout import units
from topout.records import DeviceTime, GroupChange, TracedRun, TraceReport, Transfer
from topout.report.document import Cell, Column, Row, Table

HOST = -1  # the device of records that stands for the host
_LONGEST = 64  # characters of a kernel's name where space is short
_BEFORE = 6  # characters of it that are shown before the place where it differs from another
_PLACES_SHOWN = 3  # where names that look alike are told apart, one after the other


def device_labels(ranks: Sequence[DeviceTime]) -> list[str]:
    """A name for each device that no other one has: "rank 3", "GPU 1", "rank 0, cycle 2"."""
    one_each = len({(each.rank, each.cycle) for each in ranks}) == len(ranks)
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
    parts = [] if device.rank is None else [f"rank {device.rank}"]
    if device.rank is None or not one_each:
        parts.append(number)
    if device.cycle is not None:
        parts.append(f"cycle {device.cycle}")
    return ", ".join(parts)


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


def short_names(names: Iterable[str], longest: int = _LONGEST) -> dict[str, str]:
    """Each name as `short_kernel` gives it; of those that would look alike, where they differ.

    What still looks alike, as names do that differ in more places than have room, is numbered.
    """
    short = {name: short_kernel(name, longest) for name in names}
    for _ in range(_PLACES_SHOWN):
        for alike in _looking_alike(short):
            first = _common(min(alike), max(alike))
            short |= {name: _shown_at(name, first, longest) for name in alike}
    for alike in _looking_alike(short):
        for number, name in enumerate(alike, 1):
            mark = f"…({number})"
            short[name] = short[name][: longest - len(mark)] + mark
    return short


def _looking_alike(short: Mapping[str, str]) -> list[list[str]]:
    """Names that have one short form, as often as there are several."""
    found: dict[str, list[str]] = {}
    for name, text in short.items():
        found.setdefault(text, []).append(name)
    return [names for names in found.values() if len(names) > 1]


def _common(one: str, other: str) -> int:
    """Characters that two names begin with alike: of many, the first and the last in order."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _shown_at(name: str, place: int, longest: int) -> str:
    """The beginning of a name, and what stands around a place of it."""
    name, cut = name.removeprefix("void "), 5 if name.startswith("void ") else 0
    head = longest // 3
    room = longest - head - 2
    begin = max(head, min(place - cut - _BEFORE, len(name) - room))
    end = "…" if begin + room < len(name) else ""
    return f"{name[:head]}{'…' if begin > head else ''}{name[begin : begin + room]}{end}"


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


MOST_COLUMNS = 8  # devices beyond which only mean, least and most are shown
IDLE_CAUSES = {
    "host": "the host was late",
    "communication": "waiting for communication",
    "other": "other",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of every device; None where a device has it not."""

    name: str
    values: Sequence[float | None]
    shown: Callable[[float], str]
    wholes: Sequence[float] | None = None  # what 100 % is, of each device

    def text(self, index: int) -> str:
        """The figure of one device with its share: "450 (45 %)"."""
        value = self.values[index]
        if value is None:
            return units.ABSENT
        return self.shown(value) + self._share(value, self.wholes[index] if self.wholes else 0.0)

    def mean(self) -> str:
        """The mean over the devices that have it, with the share of all wholes."""
        known = [(i, value) for i, value in enumerate(self.values) if value is not None]
        if not known:
            return units.ABSENT
        total = sum(value for _, value in known)
        whole = sum(self.wholes[i] for i, _ in known) if self.wholes else 0.0
        return self.shown(total / len(known)) + self._share(total, whole)

    @staticmethod
    def _share(value: float, whole: float) -> str:
        return f" ({units.percent(value / whole)})" if whole > 0 else ""


def device_table(head: str, labels: Sequence[str], measures: Sequence[Measure]) -> Table:
    """A column for each device; of more than MOST_COLUMNS, the mean, the least and the most."""
    if len(labels) <= MOST_COLUMNS:
        rows = [
            Row([measure.name, *(measure.text(index) for index in range(len(labels)))])
            for measure in measures
        ]
        return _side_by_side([head, *labels], rows)
    rows = [
        Row([measure.name, measure.mean(), *_extremes(measure, labels)])
        for measure in measures
        if any(value is not None for value in measure.values)
    ]
    return _side_by_side([head, "Mean", "Least", "Most"], rows)


def every_device(head: str, labels: Sequence[str], measures: Sequence[Measure]) -> Table:
    """A row for each device, however many there are."""
    rows = [
        Row([label, *(measure.text(index) for measure in measures)])
        for index, label in enumerate(labels)
    ]
    return _side_by_side([head, *(measure.name.strip() for measure in measures)], rows)


def _side_by_side(titles: Sequence[str], rows: Sequence[Row]) -> Table:
    columns = [Column(titles[0], text=True), *map(Column, titles[1:])]
    return Table(columns, rows, side_by_side=True)


def _extremes(measure: Measure, labels: Sequence[str]) -> tuple[Cell, Cell]:
    """The least and the most, each with its device; without it where all are alike."""
    known = [(value, index) for index, value in enumerate(measure.values) if value is not None]
    least = min(known)[1]
    most = max(known, key=lambda pair: pair[0])[1]
    if measure.text(least) == measure.text(most):
        return Cell(measure.text(least)), Cell(measure.text(most))
    return (
        Cell(measure.text(least), labels[least]),
        Cell(measure.text(most), labels[most]),
    )


def time_measures(ranks: Sequence[DeviceTime]) -> list[Measure]:
    """Wall time and its parts in ms with their share of it, and how full the device was."""
    walls = [each.wall_s for each in ranks]

    def part(name: str, of: Callable[[DeviceTime], float | None]) -> Measure:
        return Measure(name, [of(each) for each in ranks], milliseconds, walls)

    measures = [
        Measure("Wall", walls, milliseconds),
        part("Busy", lambda each: each.busy_s),
        part("Idle", lambda each: each.idle_s),
        part("Not recorded", lambda each: each.unknown_s or None),
        part("Compute", lambda each: each.compute_s),
        part("Communication", lambda each: each.communication_s),
        part("  not hidden", lambda each: each.exposed_communication_s),
        part("Copies and fills", lambda each: each.memory_s),
        part("Overlap", lambda each: each.overlap_s),
        Measure("Occupancy", [each.occupancy for each in ranks], units.percent),
        Measure("Peak allocated", _peaks(ranks, "allocated_bytes"), units.memory),
        Measure("Peak reserved", _peaks(ranks, "reserved_bytes"), units.memory),
    ]
    return [each for each in measures if any(value is not None for value in each.values)]


def _peaks(ranks: Sequence[DeviceTime], field: str) -> list[float | None]:
    return [
        max(
            (size for point in each.memory if (size := getattr(point, field)) is not None),
            default=None,
        )
        for each in ranks
    ]


def group_measures(ranks: Sequence[DeviceTime]) -> list[Measure]:
    """Time of each kernel group in ms, with its share of all groups of the device."""
    return _parts([{group.name: group.total_s for group in each.groups} for each in ranks])


def idle_measures(ranks: Sequence[DeviceTime]) -> list[Measure]:
    """Idle time by cause in ms, with its share of the idle time."""
    return _parts([{IDLE_CAUSES[idle.cause]: idle.total_s for idle in each.idle} for each in ranks])


def path_measures(ranks: Sequence[DeviceTime]) -> list[Measure]:
    """The critical path of a step by kind of work in ms, with the share of the path."""
    return _parts([{part.name: part.total_s for part in each.critical_path} for each in ranks])


def _parts(devices: Sequence[Mapping[str, float]]) -> list[Measure]:
    """A measure for each name, the one that takes longest in sum first."""
    wholes = [sum(parts.values()) for parts in devices]
    return [
        # A device that has no such part has none of it; one without any parts was not asked.
        Measure(
            name,
            [parts.get(name, 0.0) if parts else None for parts in devices],
            milliseconds,
            wholes,
        )
        for name in names_by_total(devices)
    ]


def names_by_total(devices: Sequence[Mapping[str, float]]) -> list[str]:
    """All names that occur, that with the largest sum first."""
    totals: dict[str, float] = {}
    for parts in devices:
        for name, value in parts.items():
            totals[name] = totals.get(name, 0.0) + value
    return sorted(totals, key=lambda name: (-totals[name], name))


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device of one run: its name over all runs, and the run and device it stands for."""

    label: str
    run: TracedRun
    place: int  # of the device in the run


def device_rows(runs: Sequence[TracedRun]) -> list[DeviceRow]:
    """Every device of every run."""
    return [
        DeviceRow(f"{run.name}, {label}", run, place)
        for run in runs
        for place, label in enumerate(device_labels(run.ranks))
    ]
