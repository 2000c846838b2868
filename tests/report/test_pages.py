"""What holds for the page of every verb: the order of reading, room for tables, paper."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ..golden.commands import INPUTS
from ..golden.rendering import page_html, quick_pages, read_record

RECORDS = sorted((INPUTS / "records").glob("*.json"))
_VOID = {"meta", "br", "img", "link", "input", "hr"}


class Nesting(HTMLParser):
    """Elements in their order, each with those around it: (tag, attributes, ancestors)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[dict[str, str]]]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes, [around for _, around in self._open]))
        if tag not in _VOID:
            self._open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def unscrolled_tables(self) -> list[dict[str, str]]:
        """Tables that would be cut off where the window is narrower."""
        return [
            attributes
            for tag, attributes, around in self.elements
            if tag == "table" and "scroll" not in [each.get("class") for each in around]
        ]

    def order(self) -> Iterator[str]:
        """ "plot", "table", and the names of the sections, in the order of the page."""
        for tag, attributes, _ in self.elements:
            if tag == "section":
                yield attributes.get("id", "")
            elif "data-chart" in attributes:
                yield "plot"
            elif tag == "table":
                yield "table"


def page_of(path: Path) -> Nesting | None:
    with quick_pages():
        html = page_html(read_record(path))
    return None if html is None else Nesting(html)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_page_says_shows_concludes_and_doubts_in_this_order(path: Path) -> None:
    page = page_of(path)
    if page is None:
        pytest.skip("this kind has no page")
    assert page.unscrolled_tables() == []
    order = list(page.order())
    ends = [order.index(name) for name in ("findings", "doubts") if name in order]
    assert ends == sorted(ends)
    if "findings" in order and "plot" in order:
        assert order.index("plot") < order.index("findings")
    if "findings" in order and "table" in order:
        assert order.index("table") < order.index("findings")
    if "plot" in order and "table" in order and not path.stem.startswith(("cost", "layers")):
        assert order.index("plot") < order.index("table")


def test_a_table_without_room_to_scroll_is_noticed() -> None:
    assert Nesting("<div class='wide'><table id='a'></table></div>").unscrolled_tables()
    assert not Nesting("<div class='scroll'><table></table></div>").unscrolled_tables()


def test_a_climb_on_paper_leaves_out_what_is_long() -> None:
    with quick_pages():
        html = page_html(read_record(INPUTS / "records" / "climb-measured.json"))
    assert html is not None
    style = html[html.index("@media print") : html.index("</style>")]
    hidden = re.search(r"\n  (nav[^{]*)\{ display: none !important; \}", style)
    assert hidden is not None
    left_out = {each.strip() for each in hidden.group(1).split(",")}
    assert {"nav", "button", ".unprinted", "details:not([open])"} <= left_out
    assert re.search(r"figure[^{]*\{ break-inside: avoid; \}", style)
    page = Nesting(html)
    rungs = next(a for tag, a, _ in page.elements if a.get("id") == "rungs")
    assert rungs["class"] == "unprinted"
    # The dark colours are the screen's alone.
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert "@media (prefers-color-scheme" not in html
