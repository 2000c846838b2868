"""The tables of a profile as rows of text, the same on the terminal and on the page."""

from dataclasses import dataclass

from topout import units
from topout.records import MemoryTrack, OperatorRate, PhaseProfile, ProfileReport

GAP = "(no operator)"


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """An operator; times are of the profiled run."""

    name: str
    self_share: str
    self_time: str
    total: str
    mean: str
    calls: str
    shapes: tuple[str, ...]
    device: str = ""


def operator_rows(phase: PhaseProfile, most: int | None = None) -> list[OperatorRow]:
    """The largest self times first; with `most`, all others in one row; the gaps come last."""
    shown = phase.operators[:most] if most is not None else phase.operators
    rows = [
        OperatorRow(
            each.name,
            units.percent(each.self_share, 1),
            units.seconds(each.self_s),
            units.seconds(each.total_s),
            units.seconds(each.mean_s),
            str(each.calls),
            tuple(shape.shapes or "no tensors" for shape in each.shapes),
            units.seconds(each.device_s) if each.device_s is not None else "",
        )
        for each in shown
    ]
    rest = phase.operators[len(shown) :]
    if rest:
        rows.append(_sum_row(f"({len(rest)} others)", sum(each.self_s for each in rest), phase))
    rows.append(_sum_row(GAP, phase.gap_s, phase))
    return rows


def _sum_row(name: str, self_s: float, phase: PhaseProfile) -> OperatorRow:
    share = units.percent(self_s / phase.traced_s if phase.traced_s else None, 1)
    return OperatorRow(name, share, units.seconds(self_s), "", "", "", ())


def part_rows(phase: PhaseProfile) -> list[tuple[str, ...]]:
    """Part, share, self time, of it in operators, in gaps, in the backward, calls."""
    return [
        (
            part.name,
            units.percent(part.self_share, 1),
            units.seconds(part.self_s),
            units.seconds(part.operator_s),
            units.seconds(part.gap_s),
            units.seconds(part.backward_s) if part.backward_s else units.ABSENT,
            str(part.calls),
        )
        for part in phase.parts
    ]


def region_rows(phase: PhaseProfile) -> list[tuple[str, ...]]:
    """Region, calls, total, self time, of it in operators, in gaps."""
    return [
        (
            region.name,
            str(region.calls),
            units.seconds(region.total_s),
            units.seconds(region.self_s),
            units.seconds(region.operator_s),
            units.seconds(region.gap_s),
        )
        for region in phase.regions
    ]


def group_rows(phase: PhaseProfile) -> list[tuple[str, ...]]:
    """Group, share of the operators' time, time, calls, examples."""
    return [
        (
            group.name,
            units.percent(group.share, 1),
            units.seconds(group.total_s),
            str(group.calls),
            ", ".join(group.examples),
        )
        for group in phase.groups
    ]


def rate_name(rate: OperatorRate) -> str:
    """What the operator is and whose: "mlp.up addmm"."""
    short = short_name(rate.name)
    return f"{rate.part} {short}" if rate.part else short


def short_name(name: str) -> str:
    """An operator without the namespace that nearly all have."""
    return name.removeprefix("aten::")


def rate_rows(phase: PhaseProfile, most: int | None = None) -> list[tuple[str, ...]]:
    """Work, time, FLOP/s, of the ceiling, bytes/s, of the ceiling, FLOP/byte, bound."""
    return [
        (
            rate_name(rate),
            units.seconds(rate.time_s),
            units.flops_per_s(rate.flops_per_s) if rate.flops else units.ABSENT,
            units.percent(rate.of_compute_ceiling, 1) if rate.flops else units.ABSENT,
            units.bytes_per_s(rate.bytes_per_s),
            units.percent(rate.of_bandwidth_ceiling, 1),
            units.significant(rate.arithmetic_intensity, 2)
            if rate.arithmetic_intensity is not None
            else units.ABSENT,
            rate.bound or units.ABSENT,
        )
        for rate in (phase.rates[:most] if most is not None else phase.rates)
    ]


def uncounted_rows(phase: PhaseProfile) -> list[tuple[str, ...]]:
    """Operator, calls, time, reason."""
    return [
        (each.name, str(each.calls), units.seconds(each.total_s), each.reason)
        for each in phase.uncounted
    ]


def gap_rows(phase: PhaseProfile) -> list[tuple[str, ...]]:
    """Where, share, time."""
    return [
        (gap.part, units.percent(gap.share, 1), units.seconds(gap.total_s)) for gap in phase.gaps
    ]


def thread_rows(phase: PhaseProfile) -> list[tuple[str, ...]]:
    """Thread, user, system, waiting, wall."""
    if phase.elapsed is None:
        return []
    return [
        (
            f"{thread.name} ({thread.thread})",
            units.seconds(thread.user_s),
            units.seconds(thread.system_s),
            units.seconds(thread.waiting_s),
            units.seconds(phase.elapsed.wall_s),
        )
        for thread in phase.elapsed.threads
    ]


def device_rows(phase: PhaseProfile) -> list[tuple[str, ...]]:
    """GPU, busy, utilization, occupancy, idle."""
    return [
        (
            device.name or f"GPU {device.device}",
            units.seconds(device.busy_s),
            units.percent(device.utilization, 1),
            units.percent(device.occupancy, 1),
            units.seconds(device.idle_s),
        )
        for device in phase.devices
    ]


def memory_rows(report: ProfileReport) -> list[tuple[str, ...]]:
    """Memory, peak allocated, peak reserved, peak resident, free at the end."""
    return [_memory_row(track) for track in report.memory]


def _memory_row(track: MemoryTrack) -> tuple[str, ...]:
    return (
        track.name,
        units.memory(track.peak_allocated_bytes),
        units.memory(track.peak_reserved_bytes),
        units.memory(track.peak_resident_bytes),
        units.memory(track.free_bytes),
    )
