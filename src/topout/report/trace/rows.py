"""Kernels, collectives and transfers of a trace as rows of text, for terminal and page."""

from collections.abc import Sequence
from dataclasses import dataclass

from topout import units
from topout.records import CollectiveTime, DeviceTime, KernelTime, TraceReport, Transfer
from topout.report.trace.words import device_labels, milliseconds, place_label


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One kernel on one device, or on all of them."""

    name: str
    group: str
    calls: str
    total: str  # ms
    share: str
    mean: str
    span: str  # shortest and longest call; of several devices, least and most total


@dataclass(frozen=True, slots=True)
class KernelTable:
    """The kernels that take longest, of one device or over all."""

    title: str
    rows: list[KernelRow]
    left_out: str  # in words; empty where all are shown


def kernel_tables(report: TraceReport, top: int) -> list[KernelTable]:
    """The `top` kernels of each device."""
    labels = device_labels(report.ranks)
    return [
        KernelTable(
            label,
            [_kernel(kernel) for kernel in _longest(each, top)],
            _left_out(len(each.kernels), top),
        )
        for label, each in zip(labels, report.ranks, strict=True)
        if each.kernels
    ]


def kernels_over_devices(report: TraceReport, top: int) -> KernelTable:
    """The `top` kernels by their time on all devices together."""
    found: dict[str, list[KernelTime]] = {}
    for each in report.ranks:
        for kernel in each.kernels:
            found.setdefault(kernel.name, []).append(kernel)
    whole = sum(kernel.total_s for kernels in found.values() for kernel in kernels)
    order = sorted(found, key=lambda name: (-sum(k.total_s for k in found[name]), name))
    devices = len(report.ranks)
    rows = [_over_devices(found[name], devices, whole) for name in order[:top]]
    return KernelTable(f"all {devices} devices", rows, _left_out(len(found), top))


def _longest(device: DeviceTime, top: int) -> list[KernelTime]:
    return sorted(device.kernels, key=lambda kernel: (-kernel.total_s, kernel.name))[:top]


def _kernel(kernel: KernelTime) -> KernelRow:
    return KernelRow(
        name=kernel.name,
        group=kernel.group,
        calls=f"{kernel.calls:,}",
        total=milliseconds(kernel.total_s),
        share=units.percent(kernel.share, 1),
        mean=units.seconds(kernel.mean_s),
        span=_range(units.seconds(kernel.min_s), units.seconds(kernel.max_s)),
    )


def _over_devices(kernels: Sequence[KernelTime], devices: int, whole: float) -> KernelRow:
    totals = [kernel.total_s for kernel in kernels] + [0.0] * (devices - len(kernels))
    calls = sum(kernel.calls for kernel in kernels)
    return KernelRow(
        name=kernels[0].name,
        group=kernels[0].group,
        calls=f"{calls:,}",
        total=milliseconds(sum(totals)),
        share=units.percent(sum(totals) / whole if whole else None, 1),
        mean=units.seconds(sum(totals) / calls if calls else None),
        span=f"{_range(milliseconds(min(totals)), milliseconds(max(totals)))} ms a device",
    )


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} – {most}"


def _left_out(kernels: int, top: int) -> str:
    return f"{kernels - top} more in --json" if kernels > top else ""


@dataclass(frozen=True, slots=True)
class CollectiveRow:
    """One kind of collective in one process group."""

    name: str
    about: str
    calls: str
    bytes: str
    bandwidth: str
    total: str  # ms
    transfer: str  # ms with its share of the total
    waiting: str
    late: str  # "for rank 3"
    reason: str


def collective_rows(report: TraceReport) -> list[CollectiveRow]:
    """Collectives, the longest first."""
    found = sorted(report.communication.collectives, key=lambda each: (-each.total_s, each.name))
    return [_collective(each) for each in found]


def _collective(each: CollectiveTime) -> CollectiveRow:
    about = [each.group] if each.group else []
    if each.group_size is not None:
        about.append(f"{each.group_size} ranks")
    return CollectiveRow(
        name=each.name,
        about=", ".join(about),
        calls=f"{each.calls:,}",
        bytes=units.si(each.bytes, "B"),
        bandwidth=units.bytes_per_s(each.bus_bandwidth_bytes_per_s),
        total=milliseconds(each.total_s),
        transfer=_share(each.transfer_s, each.total_s),
        waiting=_share(each.waiting_s, each.total_s),
        late=f"for rank {each.late_rank}" if each.late_rank is not None else "",
        reason=each.reason or "",
    )


def _share(value_s: float | None, whole_s: float) -> str:
    if value_s is None:
        return units.ABSENT
    share = f" ({units.percent(value_s / whole_s)})" if whole_s > 0 else ""
    return milliseconds(value_s) + share


TRANSFER_COLUMNS = ("From", "To", "Bytes", "Calls", "ms", "Rate")


def transfer_rows(report: TraceReport, most: int | None = None) -> list[tuple[str, ...]]:
    """Who sent how much to whom, the largest first; at most `most` rows."""
    unit = report.communication.unit
    found = sorted(
        report.communication.transfers,
        key=lambda each: (-each.bytes, each.source, each.destination),
    )
    return [_transfer(each, unit) for each in found[:most]]


def _transfer(each: Transfer, unit: str) -> tuple[str, ...]:
    return (
        place_label(each.source, unit),
        place_label(each.destination, unit),
        units.si(each.bytes, "B"),
        f"{each.calls:,}",
        milliseconds(each.total_s),
        units.bytes_per_s(each.bytes / each.total_s if each.total_s > 0 else None),
    )


def places_of(transfers: Sequence[Transfer]) -> list[int]:
    """All ends of transfers, ascending; the host, where it takes part, is the first."""
    return sorted({end for each in transfers for end in (each.source, each.destination)})
