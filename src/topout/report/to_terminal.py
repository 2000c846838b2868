"""A document on a terminal of 80 columns and more."""

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table as Grid
from rich.text import Text

from topout import units
from topout.report.document import (
    Absent,
    Bullets,
    Cell,
    Column,
    Document,
    Doubts,
    Facts,
    Figures,
    Paragraph,
    Part,
    Picture,
    Row,
    Section,
    Table,
    Terms,
    shown_parts,
)
from topout.visible_text import visible

_WIDE = 130  # from this width on the reason has room beside its row
_NAME_WIDTH = 14  # of the head of a column; longer ones are broken over lines
_LEAST_TEXT = 12  # that a column of text is folded to
_GAP = 2  # between columns side by side: one of padding, one of the box
_STYLES = {
    "": "",
    "best": "bold",
    "soft": "dim",
    "kept": "green",
    "rejected": "yellow",
    "skipped": "dim",
    "failed": "red",
    "memory": "blue",
    "compute": "yellow",
    "overhead": "magenta",
    "communication": "green",
    "bubble": "cyan",
}
_PARAGRAPHS = {"": "", "strong": "bold", "note": "dim", "failed": "red"}


def to_terminal(document: Document) -> RenderableType:
    """A renderable of the whole report that adapts to the width of the terminal."""
    return _Report(document)


class _Report:
    """Written when the width is known."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in _report(self._document, options.max_width):
            for line in console.render_lines(part, options, pad=False):
                # What rich itself writes has no such character: only styles, which come after.
                yield from (Segment(visible(each.text), each.style) for each in line)
                yield Segment.line()


def _report(document: Document, width: int) -> Iterator[RenderableType]:
    comma = "" if document.title.endswith("?") else ","
    about = f"{comma} {document.about}" if document.about else ""
    yield Padding(Text.assemble((document.title, "bold"), about), (1, 0))
    for number, sentence in enumerate(document.headlines):
        yield Text(sentence, style="bold" if number == 0 else "")
    yield from _parts(document.every_part, width)
    last = (Bullets(document.findings, "Findings"), Doubts(document.doubts, "Doubts"))
    yield from _parts((*last, document.absent), width)


def _parts(parts: Iterable[Part], width: int) -> Iterator[RenderableType]:
    for part in shown_parts(parts, "terminal"):
        match part:
            case Section():
                yield from _title(part.title, part.about, "bold underline" if part.card else "bold")
                yield from _parts(part.parts, width)
            case Table():
                yield from _title(part.title)
                yield from _table(part, width)
            case Facts() | Terms():
                yield from _title(part.title)
                yield _pairs(part.pairs)
            case Paragraph():
                yield Text(part.text, style=_PARAGRAPHS[part.style])
            case Bullets():
                yield from _title(part.title)
                yield from (_bullet("•", Text(sentence)) for sentence in part.sentences)
            case Doubts():
                yield from _title(part.title)
                for doubt in part.doubts:
                    head = (f"{doubt.about}: ", "yellow")
                    words = Text.assemble(head, doubt.sentence, " ", (doubt.remedy, "dim"))
                    yield _bullet("?", words)
            case Absent():
                yield from _title(part.title)
                for name, reason in part.reasons.items():
                    yield _bullet(units.ABSENT, Text(f"{name}: {reason}"))
            case Figures() | Picture():
                pass  # a terminal draws none


def _title(title: str, about: str = "", style: str = "bold") -> Iterator[RenderableType]:
    if title:
        beside = (f"\n{about}", "dim") if about else ""
        yield Text.assemble("\n", (title, style), beside)


def _bullet(mark: str, text: Text) -> RenderableType:
    grid = Grid.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row(mark, text)
    return grid


def _pairs(pairs: Sequence[tuple[str, str]]) -> RenderableType:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for name, value in pairs:
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def _table(table: Table, width: int) -> Iterator[RenderableType]:
    rows = table.rows if table.most is None else table.rows[: table.most]
    indices = [i for i, column in enumerate(table.columns) if column.on_terminal(width)]
    for chunk in _chunks(table, rows, indices, width):
        yield _drawn(table, rows, chunk, width)
    if width < _WIDE:
        yield from _notes(rows)
    if len(rows) < len(table.rows):
        yield Text(f"{len(table.rows) - len(rows)} more on the page and in --json.", style="dim")
    if table.note:
        yield Text(table.note, style="dim")


def _drawn(table: Table, rows: Sequence[Row], indices: Sequence[int], width: int) -> Grid:
    """The columns of these indices as one table."""
    beside = width >= _WIDE and any(row.verdict or row.note for row in rows)
    named = next((i for i in indices if table.columns[i].only != "terminal"), indices[0])
    grid = _grid(table.side_by_side)
    for index in indices:
        _add_column(grid, table.columns[index], table.side_by_side)
    if beside:
        grid.add_column(Text(table.notes_title), min_width=30, ratio=1)
    for row in rows:
        if row.kind == "heading":
            if table.side_by_side and grid.row_count:
                grid.add_row()
            heading = Text(row.cell(0).value, style=_STYLES[row.style] or "bold")
            grid.add_row(*(heading if index == named else Text() for index in indices))
            continue
        style = "bold" if row.kind == "total" else _STYLES[row.style]
        cells: list[RenderableType] = [
            _text(row.cell(index), style, table.columns[index].text) for index in indices
        ]
        if beside:
            cells.append(_reason(row))
        grid.add_row(*cells)
    return grid


def _grid(ruled: bool) -> Grid:
    if not ruled:
        return Grid(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    return Grid(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        collapse_padding=True,
        show_edge=False,
    )


def _add_column(grid: Grid, column: Column, side_by_side: bool) -> None:
    title = _broken(column.title) if side_by_side else column.title
    grid.add_column(
        Text(title),
        justify="left" if column.text else "right",
        overflow="fold",
        no_wrap=not column.text and not side_by_side,
        min_width=column.least or None,
    )


def _text(cell: Cell, style: str, breakable: bool) -> Text:
    value = cell.short if cell.short and breakable else cell.value
    below = ("\n" + cell.below, "not bold dim") if cell.below else ""
    return Text.assemble((value, _STYLES[cell.style] or style), below)


def _reason(row: Row) -> RenderableType:
    if row.verdict is None:
        return Text(row.note)
    return Group(_text(row.verdict, "", breakable=False), Text(row.note))


def _notes(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Verdicts and notes below their table, where it has no room for them."""
    noted = [row for row in rows if row.verdict or row.note]
    if any(row.verdict for row in noted):
        grid = Grid(box=None, padding=(0, 1), pad_edge=False, show_header=False)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_row()
        for row in noted:
            verdict = _text(row.verdict, "", breakable=False) if row.verdict else Text()
            grid.add_row(verdict, Text.assemble((_name(row), "bold"), ": ", row.note))
        yield grid
        return
    for row in noted:
        mark = row.cell(0).value.strip()
        beside = f"{mark} " if len(mark) == 1 else ""
        yield Text(f"{beside}{_name(row)}: {row.note}", style=_STYLES[row.style] or "dim")


def _name(row: Row) -> str:
    """What the row is called: its first cell that is longer than a mark."""
    cells = (row.cell(index) for index in range(len(row.cells)))
    return next((cell.short or cell.value for cell in cells if len(cell.value) > 1), "")


def _chunks(
    table: Table, rows: Sequence[Row], indices: Sequence[int], width: int
) -> Iterator[list[int]]:
    """Indices of columns that fit beside the first; each chunk has one column at least.

    Text can be folded, so that only columns of figures, and all that stand side by side, must fit.
    """
    gap = _GAP if table.side_by_side else 1
    sizes = {index: _needed(table, rows, index) for index in indices}
    first = indices[0] if table.columns[indices[0]].text or table.side_by_side else None
    head = [] if first is None else [first]
    chunk, used = list(head), sum(sizes[index] for index in head)
    for index in indices[len(head) :]:
        if len(chunk) > len(head) and used + gap + sizes[index] > width:
            yield chunk
            chunk, used = list(head), sum(sizes[each] for each in head)
        chunk.append(index)
        used += gap + sizes[index]
    yield chunk


def _needed(table: Table, rows: Sequence[Row], index: int) -> int:
    """Characters of the longest line in a column, or of the least that a text is folded to."""
    column = table.columns[index]
    cells = [row.cell(index) for row in rows if row.kind != "heading"]
    if column.text and not table.side_by_side:
        names = (cell.short or cell.value for cell in cells)
        longest = max(map(cell_len, [*column.title.split(), *names, ""]))
        return max(column.least, min(longest, _LEAST_TEXT))
    title = _broken(column.title) if table.side_by_side else column.title
    texts = [title, *(f"{cell.value}\n{cell.below}" for cell in cells)]
    return max(cell_len(line) for text in texts for line in [*text.splitlines(), ""])


def _broken(name: str) -> str:
    """A long name on several lines, broken after its hyphens where that is possible."""
    lines = [""]
    for number, part in enumerate(name.split("-")):
        piece = part if number == 0 else f"-{part}"
        if lines[-1] and cell_len(lines[-1] + piece) > _NAME_WIDTH:
            lines[-1] += "-" if number else ""
            piece = part
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)
