"""A report described once: its parts, in the order of reading, for every form it is shown in.

Each verb makes its `Document` in `report/<verb>/document.py`; `to_terminal`, `to_html` and
`to_markdown` render any of them. Nothing here knows a verb, a terminal or a browser.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

from topout.records import Doubt, Record

Only = Literal["page", "terminal"] | None
"""The one form in which a part is shown; None for all. Markdown shows what a terminal shows."""

Style = Literal[
    "",
    "best",
    "soft",
    "kept",
    "rejected",
    "skipped",
    "failed",
    "memory",
    "compute",
    "overhead",
    "communication",
    "bubble",
]
"""What a cell or row means; each renderer has its own look for it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure or name with what qualifies it."""

    value: str
    below: str = ""  # on lines of their own: a spread, an interval, shapes
    style: Style = ""
    short: str = ""  # takes the place of `value` where space is short
    link: str = ""  # an anchor "#…" of the page, or a web address

    @property
    def line(self) -> str:
        """The figure and what qualifies it beside each other."""
        return f"{self.value} {self.below}".strip()


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column: figures stand right and are never broken, text stands left."""

    title: str  # may have line breaks
    text: bool = False
    only: Only = None
    from_width: int = 0  # the narrowest terminal, in characters, that shows it
    below_width: int = 0  # the terminal width from which others take its place; 0 for none
    least: int = 0  # characters that a terminal leaves it
    addresses: bool = False  # web addresses in it are links of the page

    def on_terminal(self, width: int) -> bool:
        """Whether a terminal of `width` characters shows it."""
        fits = width >= self.from_width and not (self.below_width and width >= self.below_width)
        return self.only != "page" and fits


@dataclass(frozen=True, slots=True)
class Row:
    """Cells under all columns, shown or not; a `heading` has one cell, which spans them."""

    cells: Sequence[Cell | str]
    kind: Literal["", "heading", "total"] = ""
    style: Style = ""
    verdict: Cell | None = None  # with `note`: the judgement and the reason for it
    note: str = ""

    def cell(self, index: int) -> Cell:
        """The cell under a column; an empty one where the row is shorter."""
        found = self.cells[index] if index < len(self.cells) else ""
        return Cell(found) if isinstance(found, str) else found


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; the first column names the rows."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    title: str = ""
    note: str = ""
    side_by_side: bool = False  # a column for each thing compared: too many are cut into tables
    most: int | None = None  # rows on a terminal; the page has all
    only: Only = None
    notes_title: str = "Reason"  # over the verdicts and notes of the rows


Thing = TypeVar("Thing")


def table_of(
    things: Iterable[Thing],
    columns: Sequence[tuple[Column | str, Callable[[Thing], Cell | str]]],
    title: str = "",
    note: str = "",
    most: int | None = None,
    only: Only = None,
) -> Table:
    """A row for each thing; of each column its head, figures under a mere title, and its cells."""
    heads = [Column(head) if isinstance(head, str) else head for head, _ in columns]
    rows = [Row([cell(thing) for _, cell in columns]) for thing in things]
    return Table(heads, rows, title, note, most=most, only=only)


@dataclass(frozen=True, slots=True)
class Facts:
    """Pairs of name and value."""

    pairs: Sequence[tuple[str, str]]
    title: str = ""
    only: Only = None


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or several."""

    text: str
    style: Literal["", "strong", "note", "failed"] = ""
    only: Only = None


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences in a list."""

    sentences: Sequence[str]
    title: str = ""
    only: Only = None


@dataclass(frozen=True, slots=True)
class Doubts:
    """Reasons to trust the figures less, each with its remedy."""

    doubts: Sequence[Doubt]
    title: str = ""
    only: Only = None


@dataclass(frozen=True, slots=True)
class Absent:
    """Fields that are None, with the reason."""

    reasons: Mapping[str, str]
    title: str = "Not measured"
    only: Only = None


@dataclass(frozen=True, slots=True)
class Terms:
    """Words of the report with their meanings."""

    pairs: Sequence[tuple[str, str]]
    title: str = ""
    only: Only = "page"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with the words around it; `key` is its name in files and in the page."""

    key: str
    title: str
    caption: str
    spec: dict[str, Any]

    @property
    def sized(self) -> bool:
        """Whether it keeps its size, as a chart does whose texts were placed in pixels."""
        return isinstance(self.spec.get("width"), int | float)


@dataclass(frozen=True, slots=True)
class Figures:
    """Charts, drawn only where they are shown."""

    draw: Callable[[], Sequence[Chart]]
    titled: bool = True  # False where the title of the section says it
    only: Only = "page"


def first_and_others(draw: Callable[[], Sequence[Chart]]) -> tuple[Figures, Figures]:
    """The first chart apart from the others: it leads the report. They are drawn once."""
    drawn = cache(draw)
    return Figures(lambda: drawn()[:1]), Figures(lambda: drawn()[1:])


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG drawn only where it is shown; the drawing escapes the text in it."""

    draw: Callable[[], str]
    key: str = ""
    only: Only = "page"


@dataclass(frozen=True, slots=True)
class Section:
    """Parts under a title."""

    title: str
    parts: Sequence["Part"]
    key: str = ""  # the anchor on the page; on the first level, default: made of the title
    about: str = ""  # beside the title
    card: bool = False  # set apart from its neighbours
    folded: bool | None = None  # can be opened and closed on the page; True is closed
    columns: bool = False  # parts beside each other where there is room
    printed: bool = True  # False: too long for paper, the page alone has it
    only: Only = None

    @property
    def anchor(self) -> str:
        """The name of the section's place on the page."""
        return re.sub(r"[^\w]+", "-", self.key or self.title.lower()).strip("-")


Part = Table | Facts | Paragraph | Bullets | Doubts | Absent | Terms | Figures | Picture | Section


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure with its name above and what qualifies it below."""

    name: str
    value: str
    interval: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report of one record.

    Read from its top, it says the result, shows it (`lead`: the main plot and the main table), says
    what follows from it, what to doubt, and then all else. On a terminal the end stays in view:
    findings and doubts stand there.
    """

    record: Record | None  # None where there is nothing to save, and no page
    title: str
    about: str  # what it is of, in a sentence without a full stop
    parts: Sequence[Part]  # all that is not in `lead`
    lead: Sequence[Part] = ()  # the main plot, then the main table
    headlines: Sequence[str] = ()  # the result, the most important sentence first
    tiles: Sequence[Tile] = ()
    findings: Sequence[str] = ()
    doubts: Sequence[Doubt] = ()
    absent: Absent = field(default_factory=lambda: Absent({}))
    terms: Sequence[tuple[str, str]] = ()  # how to read it
    data_note: str = "All figures, as JSON, are inside this page."

    @property
    def every_part(self) -> list[Part]:
        """The parts of the first level in the order of a page."""
        return [*self.lead, *self.parts]


def shown_parts(parts: Iterable[Part], form: Literal["page", "terminal"]) -> Iterator[Part]:
    """The parts that a form shows, without those that have nothing in them."""
    return (part for part in parts if part.only in (None, form) and _holds(part, form))


def _holds(part: Part, form: Literal["page", "terminal"]) -> bool:
    match part:
        case Section():
            return any(True for _ in shown_parts(part.parts, form))
        case Table():
            return bool(part.rows)
        case Facts() | Terms():
            return bool(part.pairs)
        case Bullets():
            return bool(part.sentences)
        case Doubts():
            return bool(part.doubts)
        case Absent():
            return bool(part.reasons)
        case Paragraph():
            return bool(part.text)
        case Figures() | Picture():
            return True
