"""What a notebook shows of a record: small, whole, and nothing in it is obeyed."""

import pytest

from topout.report.document import Column, Document, Row, Table
from topout.report.to_fragment import to_fragment
from topout.visible_text import visible

from .html_page import Page, external_loads
from .run.example_run import example_run
from .test_document import OBEYED, every_kind
from .test_main_table import EXAMPLES, example

HOSTILE = '<script>alert(1)</script><style>*{}</style> " onmouseover="x & $x$'


def test_what_looks_like_markup_is_text() -> None:
    html = to_fragment(every_kind(HOSTILE + OBEYED))
    page = Page(html)
    assert "<script" not in html and page.count("style") == 1 and visible(html) == html
    assert external_loads(html) == []
    assert not any("onmouseover" in attributes for _, attributes in page.elements)
    assert HOSTILE in page.text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_record_is_shown_in_a_notebook(path: object) -> None:
    record = example(path.stem)  # type: ignore[attr-defined]
    html, markdown = record._repr_html_(), record._repr_markdown_()
    page = Page(html)
    assert len(html) < 40_000 and external_loads(html) == [] and "<script" not in html
    assert html.count("<div") == html.count("</div>") == 1 and html.rstrip().endswith("</div>")
    for tag in ("table", "tr", "td", "th", "ul", "li", "p", "b"):
        assert html.count(f"<{tag}>") + html.count(f"<{tag} ") == html.count(f"</{tag}>"), tag
    assert page.elements[0][0] == "div" and markdown.startswith("## ")
    assert len(repr(record)) < 800 and repr(record).startswith(type(record).__name__)


def test_colours_are_those_of_the_notebook() -> None:
    styles = Page(to_fragment(every_kind("x"))).styles
    assert "color: inherit" in styles and "#" not in styles


def test_a_part_of_a_record_is_shown_as_text() -> None:
    rung = example("climb-example").rungs[1]
    assert rung._repr_html_() is None and rung._repr_markdown_() is None


def test_rows_beyond_the_first_are_counted() -> None:
    rows = [Row([f"kernel {number}"]) for number in range(25)]
    document = Document(example_run(), "t", "", [Table([Column("Name", text=True)], rows)])
    text = Page(to_fragment(document)).text
    assert "kernel 19" in text and "kernel 20" not in text and "5 more in the record." in text
