"""The longest kernels, who waits for whom, who sends how much to whom, as tables."""

from collections.abc import Sequence
from dataclasses import replace

from topout import units
from topout.records import (
    CollectiveTime,
    Communication,
    DeviceTime,
    KernelTime,
    TraceReport,
    Transfer,
)
from topout.report.document import Cell, Column, Part, Row, Section, Table, table_of
from topout.report.trace.measures import (
    device_labels,
    milliseconds,
    place_label,
    places_of,
    short_names,
    work_noun,
)

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
    short = short_names(kernel.name for kernel in longest)
    rows = [
        Row(
            [
                Cell(kernel.name, short=short[kernel.name]),
                kernel.group,
                f"{kernel.calls:,}",
                milliseconds(kernel.total_s),
                units.percent(kernel.share, 1),
                units.seconds(kernel.mean_s),
                _range(units.seconds(kernel.min_s), units.seconds(kernel.max_s)),
            ]
        )
        for kernel in longest
    ]
    return Table(_COLUMNS, rows, note=_more(len(device.kernels), top))


def over_devices(report: TraceReport, top: int) -> Table:
    """The `top` kernels by their time on all devices together."""
    found: dict[str, list[KernelTime]] = {}
    for each in report.ranks:
        for kernel in each.kernels:
            found.setdefault(kernel.name, []).append(kernel)
    whole = sum(kernel.total_s for kernels in found.values() for kernel in kernels)
    order = sorted(found, key=lambda name: (-sum(k.total_s for k in found[name]), name))
    short = short_names(order[:top])
    rows = [
        _over_devices(found[name], short[name], len(report.ranks), whole) for name in order[:top]
    ]
    return Table(_COLUMNS, rows, note=_more(len(found), top))


def _over_devices(kernels: Sequence[KernelTime], short: str, devices: int, whole: float) -> Row:
    totals = [kernel.total_s for kernel in kernels] + [0.0] * (devices - len(kernels))
    calls = sum(kernel.calls for kernel in kernels)
    return Row(
        [
            Cell(kernels[0].name, short=short),
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


_MOST_ENDS = 8  # of transfers in a matrix; of more the largest transfers are listed
_MOST_TRANSFERS = 400  # rows on a page; the record has all


def collectives(found: Sequence[CollectiveTime]) -> Table:
    """Collectives, the longest first."""
    columns = [
        Column("Collective", text=True),
        *map(Column, ("Calls\nof a rank", "Bytes\nof a rank", "Bus\nbandwidth")),
        *map(Column, ("ms", "Transfer,\nms", "Waiting,\nms")),
    ]
    rows = [_collective(each) for each in sorted(found, key=lambda c: (-c.total_s, c.name))]
    return Table(columns, rows, "Collectives, mean of the ranks")


def _collective(each: CollectiveTime) -> Row:
    about = [each.group] if each.group else []
    if each.group_size is not None:
        about.append(f"{each.group_size} ranks")
    late = f"for rank {each.late_rank}" if each.late_rank is not None else ""
    return Row(
        [
            Cell(each.name, ", ".join(about)),
            f"{each.calls:,}",
            units.si(each.bytes, "B"),
            units.bytes_per_s(each.bus_bandwidth_bytes_per_s),
            milliseconds(each.total_s),
            _share(each.transfer_s, each.total_s),
            Cell(_share(each.waiting_s, each.total_s), late),
        ],
        note=each.reason or "",
    )


def _share(value_s: float | None, whole_s: float) -> str:
    if value_s is None:
        return units.ABSENT
    share = f" ({units.percent(value_s / whole_s)})" if whole_s > 0 else ""
    return milliseconds(value_s) + share


def transfers(communication: Communication, top: int) -> list[Table]:
    """On a terminal a matrix of devices, or the `top` transfers between many; a page has a list."""
    found, unit = communication.transfers, communication.unit
    ends = places_of(found)
    listed = sorted(found, key=lambda each: (-(each.bytes or 0), each.source, each.destination))
    page = _transfer_list(listed[:_MOST_TRANSFERS], unit)
    left_out = len(found) - len(page.rows)
    note = f"{left_out} more in the JSON." if left_out else ""
    tables = [replace(page, title="In figures", note=note, only="page")]
    if len(ends) <= _MOST_ENDS:
        return [_matrix(found, ends, unit), *tables]
    short = _transfer_list(listed[:top], unit)
    note = f"{len(found) - top} more in --json." if len(found) > top else ""
    return [replace(short, title="Largest transfers", note=note, only="terminal"), *tables]


def _matrix(found: Sequence[Transfer], ends: Sequence[int], unit: str) -> Table:
    """Bytes and ms of each pair; the pairs that sent nothing stay empty."""
    cells = {
        (each.source, each.destination): Cell(
            units.si(each.bytes, "B"), f"{milliseconds(each.total_s)} ms"
        )
        for each in found
    }
    columns = [Column("from", text=True), *(Column(place_label(end, unit)) for end in ends)]
    rows = [
        Row([place_label(source, unit), *(cells.get((source, to), "") for to in ends)])
        for source in ends
    ]
    title = "Sent, from the row to the column"
    return Table(columns, rows, title, side_by_side=True, only="terminal")


def _transfer_list(found: Sequence[Transfer], unit: str) -> Table:
    return table_of(
        found,
        [
            (Column("From", text=True), lambda each: place_label(each.source, unit)),
            (Column("To", text=True), lambda each: place_label(each.destination, unit)),
            ("Bytes", lambda each: units.si(each.bytes, "B")),
            ("Calls", lambda each: f"{each.calls:,}"),
            ("ms", lambda each: milliseconds(each.total_s)),
            ("Rate", _rate),
        ],
    )


def _rate(each: Transfer) -> str:
    is_known = each.bytes is not None and each.total_s > 0
    return units.bytes_per_s((each.bytes or 0) / each.total_s if is_known else None)
