"""The kernels that take longest, of each device and over all, as tables of a trace's document."""

from collections.abc import Sequence

from topout import units
from topout.records import DeviceTime, KernelTime, TraceReport
from topout.report.document import Cell, Column, Part, Row, Section, Table
from topout.report.trace.names import device_labels, milliseconds, short_kernel, work_noun

_MOST_TABLES = 4  # devices beyond which a terminal shows the kernels summed over all
_COLUMNS = [
    Column("Name", text=True),
    Column("Group", text=True, least=10),
    *map(Column, ("Calls", "ms", "Share", "Mean")),
    Column("Least – most", only="page"),
]


def kernel_sections(report: TraceReport, top: int) -> list[Section]:
    """The `top` kernels of each device, and of several devices together."""
    labels, noun = device_labels(report.ranks), work_noun(report)
    each = [
        (label, _of_device(device, top))
        for label, device in zip(labels, report.ranks, strict=True)
        if device.kernels
    ]
    if not each:
        return []
    title = f"Longest {noun}"
    if len(report.ranks) == 1:
        label, table = each[0]
        return [Section(f"{title}, {label}", [table], key="kernels")]
    few = len(each) <= _MOST_TABLES
    overall = Section(
        "All devices",
        [over_devices(report, top)],
        only="page" if few else None,
    )
    apart: list[Part] = [Section(f"{title}, {label}", [table]) for label, table in each]
    on_page = Section("Of each device", apart, folded=True, only="page")
    tables = [Section("", apart, only="terminal", key="kernels-of-devices")] if few else []
    return [Section(title, [overall, *tables, on_page], key="kernels")]


def _of_device(device: DeviceTime, top: int) -> Table:
    longest = sorted(device.kernels, key=lambda kernel: (-kernel.total_s, kernel.name))[:top]
    return Table(_COLUMNS, [_row(each) for each in longest], note=_more(len(device.kernels), top))


def _row(kernel: KernelTime) -> Row:
    return Row(
        [
            Cell(kernel.name, short=short_kernel(kernel.name)),
            kernel.group,
            f"{kernel.calls:,}",
            milliseconds(kernel.total_s),
            units.percent(kernel.share, 1),
            units.seconds(kernel.mean_s),
            _range(units.seconds(kernel.min_s), units.seconds(kernel.max_s)),
        ]
    )


def over_devices(report: TraceReport, top: int) -> Table:
    """The `top` kernels by their time on all devices together."""
    found: dict[str, list[KernelTime]] = {}
    for each in report.ranks:
        for kernel in each.kernels:
            found.setdefault(kernel.name, []).append(kernel)
    whole = sum(kernel.total_s for kernels in found.values() for kernel in kernels)
    order = sorted(found, key=lambda name: (-sum(k.total_s for k in found[name]), name))
    rows = [_over_devices(found[name], len(report.ranks), whole) for name in order[:top]]
    return Table(_COLUMNS, rows, note=_more(len(found), top))


def _over_devices(kernels: Sequence[KernelTime], devices: int, whole: float) -> Row:
    totals = [kernel.total_s for kernel in kernels] + [0.0] * (devices - len(kernels))
    calls = sum(kernel.calls for kernel in kernels)
    name = kernels[0].name
    return Row(
        [
            Cell(name, short=short_kernel(name)),
            kernels[0].group,
            f"{calls:,}",
            milliseconds(sum(totals)),
            units.percent(sum(totals) / whole if whole else None, 1),
            units.seconds(sum(totals) / calls if calls else None),
            f"{_range(milliseconds(min(totals)), milliseconds(max(totals)))} ms a device",
        ]
    )


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} – {most}"


def _more(kernels: int, top: int) -> str:
    return f"{kernels - top} more in --json." if kernels > top else ""
