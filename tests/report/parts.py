"""Parts of a document found by their titles, for tests of what stands in them."""

from collections.abc import Iterator

from topout.report.document import Document, Facts, Part, Row, Section, Table


def every_part(document: Document) -> Iterator[Part]:
    """All parts, depth first."""
    todo = document.every_part
    while todo:
        part = todo.pop(0)
        yield part
        if isinstance(part, Section):
            todo[:0] = list(part.parts)


def section(document: Document, title: str) -> Section:
    """The section of this title."""
    return next(
        part for part in every_part(document) if isinstance(part, Section) and part.title == title
    )


def table(document: Document, first_column: str) -> Table:
    """The table whose first column has this title."""
    return next(
        part
        for part in every_part(document)
        if isinstance(part, Table) and part.columns[0].title == first_column
    )


def facts(document: Document, title: str) -> dict[str, str]:
    """The pairs of this title."""
    return next(
        dict(part.pairs)
        for part in every_part(document)
        if isinstance(part, Facts) and part.title == title
    )


def cells(of: Table, row: Row) -> dict[str, str]:
    """The values of a row by the titles of their columns."""
    return {
        column.title.replace("\n", " "): row.cell(index).value
        for index, column in enumerate(of.columns)
    }
