"""One document, three renderers: nothing that a text says is obeyed, and nothing is lost."""

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from topout.records import Doubt
from topout.report import describe
from topout.report.document import (
    Absent,
    Bullets,
    Cell,
    Chart,
    Column,
    Document,
    Doubts,
    Facts,
    Figures,
    Paragraph,
    Picture,
    Row,
    Section,
    Table,
    Terms,
    Tile,
)
from topout.report.to_html import to_html
from topout.report.to_markdown import to_markdown
from topout.report.to_terminal import to_terminal
from topout.visible_text import visible

from .html_page import Page, external_loads
from .run.example_run import example_run

CHART: dict[str, Any] = {"mark": "point", "data": {"values": [{"x": 1}]}, "config": {}}


def every_kind(text: str, *, link: str = "", addresses: bool = False) -> Document:
    """A document with a part of each kind, in all of which `text` stands."""
    cell = Cell(text, below=text, short=text, link=link)
    verdict = Row([text, cell], verdict=Cell(text, style="kept"), note=text)
    columns = [Column(text, text=True, addresses=addresses), Column(text)]
    parts = [
        Table(columns, [Row([text], kind="heading"), verdict], title=text, note=text),
        Table(columns, [Row([text, text], kind="total")], side_by_side=True),
        Facts([(text, text)], text),
        Terms([(text, text)], text),
        Paragraph(text, "note"),
        Bullets([text], text),
        Doubts([Doubt(about=text, sentence=text, remedy=text)], text),
        Absent({text: text}, text),
        Figures(lambda: [Chart("chart", text, text, CHART)]),
        Picture(lambda: "<svg></svg>"),
    ]
    sections = [
        Section(text, parts, about=text),
        Section("cards", [Section(text, parts[2:5], about=text, card=True, columns=True)]),
        Section("folds", [Section(text, parts[2:5], about=text, folded=True)]),
    ]
    return Document(
        record=example_run(),
        title=text,
        about=text,
        parts=sections,
        headlines=[text, text],
        tiles=[Tile(text, text, text, text)],
        findings=[text],
        doubts=[Doubt(about=text, sentence=text, remedy=text)],
        absent=Absent({text: text}),
        terms=[(text, text)],
        data_note=text,
    )


def terminal(document: Document, width: int = 80, colours: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colours,
        color_system="standard" if colours else None,
    )
    console.print(to_terminal(document))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


OBEYED = "\x1b[2J\x07\r\x9b\u202e\u2066\ud800"
_ANY = st.text(st.characters(), max_size=12)


def test_each_character_that_is_obeyed_is_replaced() -> None:
    assert visible(f"a{OBEYED}b\nc") == "a\ufffd[2J" + "\ufffd" * 6 + "b\nc"
    assert visible("Größe × 2 – ไทย") == "Größe × 2 – ไทย"


@given(_ANY)
@settings(max_examples=40)
def test_no_renderer_passes_a_control_character_on(text: str) -> None:
    document = every_kind(text + OBEYED)
    shown = terminal(document) + to_markdown(document)
    assert visible(shown) == shown


def test_no_page_passes_a_control_character_on() -> None:
    page = Page(to_html(every_kind(OBEYED)))
    assert visible(page.text.replace("\t", " ")) == page.text.replace("\t", " ")


def test_what_looks_like_markup_is_text() -> None:
    hostile = '<script>alert(1)</script>[bold]x[/bold] " onmouseover="x'
    html = to_html(every_kind(hostile))
    assert "<script>alert" not in html
    assert external_loads(html) == []
    assert not any("onmouseover" in attributes for _, attributes in Page(html).elements)
    assert "[bold]x[/bold]" in terminal(every_kind(hostile), 200)
    assert r"\<script\>" in to_markdown(every_kind(hostile))
    assert re.search(r"(?<!\\)<", to_markdown(every_kind(hostile))) is None


def test_a_pipe_does_not_end_a_cell_of_markdown() -> None:
    document = Document(example_run(), "t", "", [Table([Column("a|b", text=True)], [Row(["c|d"])])])
    lines = to_markdown(document).splitlines()
    assert [line for line in lines if "|" in line] == [r"| a\|b |", "| --- |", r"| c\|d |"]


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "//evil", "#a b", "https://a b"]
)
def test_a_link_leads_to_a_place_of_the_page_or_to_the_web(link: str) -> None:
    assert link not in {
        attributes.get("href")
        for _, attributes in Page(to_html(every_kind("x", link=link))).elements
    }


def test_addresses_are_links_only_where_a_column_says_so() -> None:
    text = "the maker's sheet, https://example.org/a.pdf."
    plain = Page(to_html(every_kind(text)))
    linked = Page(to_html(every_kind(text, addresses=True)))
    targets = [attributes.get("href") for _, attributes in linked.elements]
    assert "https://example.org/a.pdf" in targets
    assert "https://example.org/a.pdf" not in [a.get("href") for _, a in plain.elements]


def table_of(count: int, *, side_by_side: bool) -> Document:
    names = [f"machine-with-a-name-{number}" for number in range(count)]
    columns = [Column("figure", text=True), *map(Column, names)]
    rows = [Row([f"row {n}", *(f"{n}.{i}" for i in range(count))]) for n in range(3)]
    return Document(example_run(), "t", "", [Table(columns, rows, side_by_side=side_by_side)])


@pytest.mark.parametrize("side_by_side", [True, False])
@pytest.mark.parametrize("width", [80, 120])
def test_too_many_columns_are_cut_into_tables_and_none_is_lost(
    width: int, side_by_side: bool
) -> None:
    text = terminal(table_of(12, side_by_side=side_by_side), width)
    assert max(map(len, text.splitlines())) <= width
    for number in range(12):
        assert all(f" {row}.{number} " in text.replace("\n", " \n") for row in range(3))
    assert text.count("row 0") > 1  # the names of the rows stand in each


def test_columns_are_chosen_by_width_and_form() -> None:
    columns = [
        Column("name", text=True),
        Column("short", below_width=100),
        Column("long", from_width=100),
        Column("page", only="page"),
        Column("terminal", only="terminal"),
    ]
    document = Document(example_run(), "t", "", [Table(columns, [Row(list("abcde"))])])
    heads = {80: "name short terminal", 100: "name long terminal"}
    for width, words in heads.items():
        assert words in " ".join(terminal(document, width).split())
    page = " ".join(Page(to_html(document)).text.split())
    assert "name long page" in page and "terminal" not in page.lower()
    assert "| name | long | terminal |" in to_markdown(document)


def test_a_verdict_stands_in_its_row_where_there_is_room_and_below_where_not() -> None:
    row = Row(["✓", "rung_a", "1"], verdict=Cell("✓ kept"), note="It is faster.")
    columns = [Column("", text=True), Column("Rung", text=True), Column("x")]
    table = Table(columns, [row], notes_title="Verdict and reason")
    document = Document(example_run(), "t", "", [table])
    assert "✓ kept rung_a: It is faster." in " ".join(terminal(document).split())
    wide = terminal(document, 140)
    assert "Verdict and reason" in wide and "rung_a: It is" not in wide
    assert "| ✓ | rung\\_a | 1 | ✓ kept: It is faster. |" in to_markdown(document)


def test_rows_beyond_the_most_are_counted_on_a_terminal_and_stand_on_the_page() -> None:
    rows = [Row([f"kernel {number}"]) for number in range(5)]
    document = Document(example_run(), "t", "", [Table([Column("Name", text=True)], rows, most=2)])
    text = terminal(document)
    assert "kernel 1" in text and "kernel 2" not in text and "3 more on the page" in text
    assert "kernel 4" in Page(to_html(document)).text


def test_a_column_more_of_a_report_is_one_line_and_a_cell() -> None:
    """Of the run's own report; every renderer shows it, and no other place knows of it."""
    document = describe(example_run())
    table = next(part for part in tables_in(document.every_part) if part.rows)
    table.columns.append(Column("Energy"))
    for row in table.rows:
        row.cells.append(Cell("17 J"))
    for text in (
        terminal(document, 160),
        Page(to_html(document)).text,
        to_markdown(document),
    ):
        assert "Energy" in text and text.count("17 J") >= len(table.rows)


def tables_in(parts: Iterable[object]) -> Iterator[Table]:
    """The tables of sections, however deep."""
    for part in parts:
        if isinstance(part, Section):
            yield from tables_in(part.parts)
        elif isinstance(part, Table):
            yield part


def test_parts_without_content_leave_no_title() -> None:
    empty = Section("Nothing", [Facts([], "no facts"), Bullets([]), Table([Column("a")], [])])
    document = Document(example_run(), "t", "", [empty])
    assert "Nothing" not in terminal(document) + to_markdown(document)
    assert "Nothing" not in Page(to_html(document)).text


def test_every_section_of_the_page_can_be_reached() -> None:
    page = Page(to_html(every_kind("Word")))
    ids = {attributes.get("id") for _, attributes in page.elements}
    targets = [a["href"] for tag, a in page.elements if tag == "a" and a.get("href")]
    assert targets and all((target or "")[1:] in ids for target in targets)


def test_a_style_is_seen_on_a_terminal_with_colours() -> None:
    table = Table([Column("a", text=True)], [Row([Cell("bad", style="failed")])])
    assert "\x1b[31mbad" in terminal(Document(example_run(), "t", "", [table]), colours=True)


def test_columns_of_the_same_title_have_their_own_figures() -> None:
    columns = [Column("a", text=True), Column("of it"), Column("of it")]
    document = Document(example_run(), "t", "", [Table(columns, [Row(["x", "1 %", "2 %"])])])
    assert "x 1 % 2 %" in " ".join(Page(to_html(document)).text.split())
    assert "x 1 % 2 %" in " ".join(terminal(document).split())
    assert "| x | 1 % | 2 % |" in to_markdown(document)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a100-80gb", ["a100-80gb"]),
        ("xeon-platinum-8480plus", ["xeon-platinum-", "8480plus"]),
        ("averylongnamewithouthyphen", ["averylongnamewithouthyphen"]),
    ],
)
def test_long_names_side_by_side_are_broken_after_a_hyphen(name: str, lines: list[str]) -> None:
    columns = [Column("", text=True), Column(name)]
    table = Table(columns, [Row(["row", "1"])], side_by_side=True)
    text = terminal(Document(example_run(), "t", "", [table]))
    assert [line.strip() for line in text.splitlines()[3 : 3 + len(lines)]] == lines
