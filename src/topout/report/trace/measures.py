"""The figures of a trace's devices: their time, kernel groups, idle time, critical path, memory."""

from collections.abc import Callable, Mapping, Sequence

from topout import units
from topout.records import DeviceTime
from topout.report.trace.grid import Measure
from topout.report.trace.words import milliseconds

IDLE_CAUSES = {
    "host": "the host was late",
    "communication": "waiting for communication",
    "other": "other",
}


def time_measures(ranks: Sequence[DeviceTime]) -> list[Measure]:
    """Wall time and its parts in ms with their share of it, and how full the device was."""
    walls = [each.wall_s for each in ranks]

    def part(name: str, of: Callable[[DeviceTime], float | None]) -> Measure:
        return Measure(name, [of(each) for each in ranks], milliseconds, walls)

    measures = [
        Measure("Wall", walls, milliseconds),
        part("Busy", lambda each: each.busy_s),
        part("Idle", lambda each: each.idle_s),
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
