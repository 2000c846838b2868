"""A document as blocks of text, in the words and tables of a wide terminal, without its pictures.

`to_markdown` and `to_fragment` say how a block is marked in their language.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

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
    Section,
    Table,
    Terms,
    shown_parts,
)

_WIDTH = 10_000  # of a terminal that shows every column


class Marks(NamedTuple):
    """How a language writes what a document is made of; all but the first two take their texts."""

    text: Callable[[str], str]  # with each character that would be obeyed escaped
    address: Callable[[str], str]  # the same of a text whose web addresses are links
    strong: Callable[[str], str]
    heading: Callable[[str, int], str]  # with its level, from 2
    paragraph: Callable[[str], str]
    items: Callable[[Iterable[str]], str]
    table: Callable[[Sequence[str], Sequence[bool], Iterable[Sequence[str]]], str]
    """Heads, whether they are of text, and the cells of each row."""
    most: int | None = None  # rows of a table


def blocks(document: Document, marks: Marks) -> Iterator[str]:
    """The report in the order of a page."""
    text = marks.text
    yield marks.heading(text(document.title), 2)
    if document.about:
        yield marks.paragraph(f"{text(document.about)}.")
    for number, sentence in enumerate(document.headlines):
        shown = text(sentence)
        yield marks.paragraph(marks.strong(shown) if number == 0 else shown)
    said = (Bullets(document.findings, "Findings"), Doubts(document.doubts, "Doubts"))
    parts = (*document.lead, *said, *document.parts, document.absent)
    yield from _parts(parts, 3, marks)


def _parts(parts: Iterable[Part], level: int, marks: Marks) -> Iterator[str]:
    for part in shown_parts(parts, "terminal"):
        if isinstance(part, Figures | Picture):
            continue
        if not isinstance(part, Paragraph) and part.title:
            yield marks.heading(marks.text(part.title), min(level, 6))
        yield from _part(part, level, marks)


def _part(part: Part, level: int, marks: Marks) -> Iterator[str]:
    text = marks.text
    match part:
        case Section():
            if part.about:
                yield marks.paragraph(text(part.about))
            yield from _parts(part.parts, level + 1, marks)
        case Table():
            yield _table(part, marks)
            if marks.most is not None and len(part.rows) > marks.most:
                yield marks.paragraph(f"{len(part.rows) - marks.most} more in the record.")
            if part.note:
                yield marks.paragraph(text(part.note))
        case Facts() | Terms():
            yield marks.items(f"{text(name)}: {text(value)}" for name, value in part.pairs)
        case Paragraph():
            yield marks.paragraph(text(part.text))
        case Bullets():
            yield marks.items(map(text, part.sentences))
        case Doubts():
            yield marks.items(
                f"{marks.strong(text(doubt.about))}: {text(doubt.sentence)} {text(doubt.remedy)}"
                for doubt in part.doubts
            )
        case Absent():
            yield marks.items(f"{text(name)}: {text(why)}" for name, why in part.reasons.items())


def _table(table: Table, marks: Marks) -> str:
    """A table; verdicts and notes of the rows stand in a last column."""
    indices = [i for i, column in enumerate(table.columns) if column.on_terminal(_WIDTH)]
    noted = any(row.verdict or row.note for row in table.rows)
    heads = [marks.text(table.columns[index].title) for index in indices]
    is_text = [table.columns[index].text for index in indices]
    rows = []
    for row in table.rows[: marks.most]:
        cells = [_cell(row.cell(index), table.columns[index], marks) for index in indices]
        if row.kind:
            cells = [marks.strong(cell) if cell else "" for cell in cells]
        if noted:
            verdict = row.verdict.value if row.verdict else ""
            cells.append(marks.text(": ".join(filter(None, (verdict, row.note)))))
        rows.append(cells)
    return marks.table(
        [*heads, *([marks.text(table.notes_title)] if noted else [])],
        [*is_text, *([True] if noted else [])],
        rows,
    )


def _cell(cell: Cell, column: Column, marks: Marks) -> str:
    text = marks.address if column.addresses else marks.text
    return text(" ".join(filter(None, (cell.short or cell.value, cell.below))))
