"""A document as Markdown, for an issue, a pull request or a notebook."""

import re
from collections.abc import Iterable, Iterator, Sequence

from topout.report.document import (
    Absent,
    Bullets,
    Cell,
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
    visible,
)

_WIDTH = 10_000  # of a terminal that shows every column
# What Markdown or the HTML that it may hold would obey.
_OBEYED = re.compile(r"([\\`*_\[\]<>|~#&$])")


def to_markdown(document: Document) -> str:
    """The report in the words and tables of a wide terminal, without its pictures."""
    return "\n\n".join(_blocks(document)) + "\n"


def _blocks(document: Document) -> Iterator[str]:
    yield f"## {_text(document.title)}"
    if document.about:
        yield f"{_text(document.about)}."
    for number, sentence in enumerate(document.headlines):
        yield f"**{_text(sentence)}**" if number == 0 else _text(sentence)
    yield from _parts(document.parts, 3)
    last = (Bullets(document.findings, "Findings"), Doubts(document.doubts, "Doubts"))
    yield from _parts((*last, document.absent), 3)


def _parts(parts: Iterable[Part], level: int) -> Iterator[str]:
    for part in shown_parts(parts, "terminal"):
        if isinstance(part, Figures | Picture):
            continue
        if not isinstance(part, Paragraph) and part.title:
            yield f"{'#' * min(level, 6)} {_text(part.title)}"
        yield from _part(part, level)


def _part(part: Part, level: int) -> Iterator[str]:
    match part:
        case Section():
            if part.about:
                yield _text(part.about)
            yield from _parts(part.parts, level + 1)
        case Table():
            yield _table(part)
            if part.note:
                yield _text(part.note)
        case Facts() | Terms():
            yield _list(f"{_text(name)}: {_text(value)}" for name, value in part.pairs)
        case Paragraph():
            yield _text(part.text)
        case Bullets():
            yield _list(map(_text, part.sentences))
        case Doubts():
            yield _list(
                f"**{_text(doubt.about)}**: {_text(doubt.sentence)} {_text(doubt.remedy)}"
                for doubt in part.doubts
            )
        case Absent():
            yield _list(f"{_text(name)}: {_text(why)}" for name, why in part.reasons.items())


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(table: Table) -> str:
    """A table of pipes; verdicts and notes of the rows stand in a last column."""
    indices = [i for i, column in enumerate(table.columns) if column.on_terminal(_WIDTH)]
    noted = any(row.verdict or row.note for row in table.rows)
    heads = [_text(table.columns[index].title) for index in indices]
    rules = ["---" if table.columns[index].text else "---:" for index in indices]
    lines = [_line([*heads, *([_text(table.notes_title)] if noted else [])])]
    lines.append(_line([*rules, *(["---"] if noted else [])]))
    for row in table.rows:
        cells = [_cell(row.cell(index)) for index in indices]
        if row.kind:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        if noted:
            verdict = [row.verdict.value] if row.verdict else []
            cells.append(_text(": ".join([*verdict, *([row.note] if row.note else [])])))
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return _text(" ".join(filter(None, (cell.short or cell.value, cell.below))))


def _text(text: str) -> str:
    """The text on one line, with each character that would be obeyed escaped."""
    return _OBEYED.sub(r"\\\1", " ".join(visible(text).split()))
