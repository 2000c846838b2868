"""What a browser makes of a page that a report wrote."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

# What makes a browser fetch something.
_LOADING = {"src", "srcset", "data", "poster", "action", "formaction", "background", "xlink:href"}
_VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser makes of the page: its elements, and its text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self.styles = ""
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in _VOID:
            self._open.append((tag, attributes.get("id") or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, name = self._open[-1] if self._open else ("", "")
        if tag == "script":
            self.scripts[name] = self.scripts.get(name, "") + data
        elif tag == "style":
            self.styles += data
        else:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(1 for element, _ in self.elements if element == tag)


def external_loads(html: str, links: Sequence[str] = ()) -> list[str]:
    """Everything on the page that would make a browser fetch something, or that leads away.

    Of what leads away, the addresses in `links` are allowed.
    """
    page = Page(html)
    loads = [
        f"{tag} {name}={value}"
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if (name in _LOADING or (name == "href" and tag != "a"))
        and not (value or "").startswith("#")
    ]
    anchors = [
        attributes["href"] or ""
        for tag, attributes in page.elements
        if tag == "a" and "href" in attributes
    ]
    loads += [href for href in anchors if not href.startswith("#") and href not in links]
    styles = page.styles + " ".join(
        value or "" for _, attributes in page.elements for value in attributes.values()
    )
    loads += re.findall(r"url\((?!#)[^)]*\)|@import[^;]*", styles)
    loads += [tag for tag in ("link", "iframe", "img", "object", "embed") if page.count(tag)]
    return loads
