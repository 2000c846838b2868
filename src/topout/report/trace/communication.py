"""Who waits for whom and who sends how much to whom, as tables of a trace's document."""

from collections.abc import Sequence

from topout import units
from topout.records import CollectiveTime, Communication, Transfer
from topout.report.document import Cell, Column, Row, Table
from topout.report.trace.names import milliseconds, place_label, places_of

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
    listed = sorted(found, key=lambda each: (-each.bytes, each.source, each.destination))
    page = _transfer_list(listed[:_MOST_TRANSFERS], unit)
    left_out = len(found) - len(page.rows)
    note = f"{left_out} more in the JSON." if left_out else ""
    tables = [Table(page.columns, page.rows, "In figures", note, only="page")]
    if len(ends) <= _MOST_ENDS:
        return [_matrix(found, ends, unit), *tables]
    short = _transfer_list(listed[:top], unit)
    note = f"{len(found) - top} more in --json." if len(found) > top else ""
    return [Table(short.columns, short.rows, "Largest transfers", note, only="terminal"), *tables]


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
    columns = [
        Column("From", text=True),
        Column("To", text=True),
        *map(Column, ("Bytes", "Calls", "ms", "Rate")),
    ]
    return Table(columns, [_transfer(each, unit) for each in found])


def _transfer(each: Transfer, unit: str) -> Row:
    return Row(
        [
            place_label(each.source, unit),
            place_label(each.destination, unit),
            units.si(each.bytes, "B"),
            f"{each.calls:,}",
            milliseconds(each.total_s),
            units.bytes_per_s(each.bytes / each.total_s if each.total_s > 0 else None),
        ]
    )
