"""Tables with a column per thing compared, cut into several where the terminal is too narrow."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

NAME_WIDTH = 14  # names of machines that are longer are broken over lines
_GAP = 2  # cells between columns: one of padding, one of the box


def column_chunks(labels: int, columns: Sequence[int], width: int) -> list[range]:
    """Runs of columns that fit into `width` beside the labels: each has one column at least."""
    chunks: list[range] = []
    start, used = 0, labels
    for index, column in enumerate(columns):
        if index > start and used + _GAP + column > width:
            chunks.append(range(start, index))
            start, used = index, labels
        used += _GAP + column
    return [*chunks, range(start, len(columns))] if columns else chunks


def plain_table() -> Table:
    """A table with a rule under its head and nothing else drawn."""
    return Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        collapse_padding=True,
        show_edge=False,
    )


def broken_name(name: str, width: int = NAME_WIDTH) -> str:
    """A long name on several lines, broken after its hyphens where that is possible."""
    lines = [""]
    for number, part in enumerate(name.split("-")):
        piece = part if number == 0 else f"-{part}"
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines[-1] += "-" if number else ""
            piece = part
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def widest(texts: Sequence[Text | str]) -> int:
    """Cells of the longest line."""
    lines = (line for text in texts for line in str(text).splitlines())
    return max((cell_len(line) for line in lines), default=0)


def grid_tables(columns: list[str], rows: list[list[str]], width: int) -> Iterator[Table]:
    """A grid of text, first column repeated in each table that it is cut into."""
    labels = widest([columns[0], *(row[0] for row in rows)])
    heads = [broken_name(name) for name in columns[1:]]
    sizes = [widest([head, *(row[index + 1] for row in rows)]) for index, head in enumerate(heads)]
    for chunk in column_chunks(labels, sizes, width):
        table = plain_table()
        table.add_column(Text(columns[0]), overflow="fold")
        for index in chunk:
            table.add_column(Text(heads[index]), justify="right", overflow="fold")
        for row in rows:
            table.add_row(Text(row[0]), *(Text(row[index + 1]) for index in chunk))
        yield table
