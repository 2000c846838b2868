"""A page as its visitor reads it: one line per block, cells joined, charts by digest."""

import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from .steady import rounded

_LINES = {
    *("address", "article", "aside", "blockquote", "body", "button", "caption", "details"),
    *("div", "dl", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3"),
    *("h4", "h5", "h6", "header", "hr", "li", "main", "nav", "noscript", "ol", "p", "pre"),
    *("section", "summary", "table", "tbody", "tfoot", "thead", "title", "tr", "ul"),
}
_CELLS = {"td", "th", "dt", "dd"}
_SPACED = {"span", "b", "br"}
_DIGEST = 12  # hexadecimal digits


def page_text(html: str, record_json: str) -> str:
    """The visible text, then a line for each chart and one for each record in the page."""
    page = _Reader()
    page.feed(html)
    page.close()
    page.end_line()
    specs = json.loads(page.scripts.pop("chart-specs", "{}"))
    charts = [f"[chart {key}: {_chart(spec)}]" for key, spec in specs.items()]
    data = [
        f"[data {name}: {_data(text, record_json)}]" for name, text in page.scripts.items() if name
    ]
    return "\n".join([*page.lines, *charts, *data]) + "\n"


def _chart(spec: dict[str, Any]) -> str:
    """What a chart shows in short, and a digest of its spec."""
    marks = _values(spec, "mark")
    kinds = [mark if isinstance(mark, str) else mark["type"] for mark in marks]
    titles = [_plain(title) for title in _values(spec, "title")]
    rows = sum(len(values) for values in _values(spec, "values") if isinstance(values, list))
    rows += sum(len(data) for sets in _values(spec, "datasets") for data in sets.values())
    text = "; ".join(dict.fromkeys(title for title in titles if title))
    return f"{', '.join(kinds)}; {rows} rows; {text}; {_digest(spec)}"


def _values(spec: Any, name: str) -> list[Any]:
    """Everything that stands under this key, in the order of the spec."""
    if isinstance(spec, list):
        return [value for part in spec for value in _values(part, name)]
    if not isinstance(spec, dict):
        return []
    found = [spec[name]] if name in spec else []
    inner = (_values(part, name) for key, part in spec.items() if key not in (name, "datasets"))
    return found + [value for values in inner for value in values]


def _plain(title: Any) -> str:
    text = title.get("text", "") if isinstance(title, dict) else title
    return " ".join(text) if isinstance(text, list) else str(text or "")


def _digest(spec: Any) -> str:
    text = json.dumps(rounded(spec), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]


def _data(text: str, record_json: str) -> str:
    found, record = ({**json.loads(each), "digest": ""} for each in (text, record_json))
    if found == record:
        return "the record"
    return f"not the record, {_digest(json.loads(text))}"


class _Reader(HTMLParser):
    """Collects lines outside scripts, styles and pictures, and the scripts by id."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.scripts: dict[str, str] = {}
        self._line = ""
        self._hidden: str | None = None  # the id of the script, or "" in a style
        self._picture: list[str] = []  # what an <svg> consists of
        self._depth = 0  # of <svg> in <svg>
        self._in_navigation = False
        self._in_chart = False  # the static picture depends on the fonts here: no digest of it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._depth += tag == "svg"
        if self._depth:
            self._picture.append(f"{tag} {sorted(attributes.items(), key=str)}")
        elif tag in ("script", "style"):
            self._hidden = attributes.get("id") or ""
        elif tag in _CELLS or (tag == "a" and self._in_navigation):
            self._line += " | " if self._line.strip() else ""
        elif tag in _SPACED:
            self._line += " "
        elif tag in _LINES:
            self.end_line()
        self._in_navigation |= tag == "nav"
        if "data-chart" in attributes:
            self._in_chart = True
            self._line += f"[picture {attributes['data-chart']}]"

    def handle_endtag(self, tag: str) -> None:
        if self._depth:
            self._depth -= tag == "svg"
            if not self._depth:
                self._line += "" if self._in_chart else f"[svg {_digest(self._picture)}]"
                self._picture = []
            return
        if tag in ("script", "style"):
            self._hidden = None
        elif tag in _SPACED:
            self._line += " "
        elif tag in _LINES:
            self.end_line()
            self._in_chart = False
        self._in_navigation &= tag != "nav"

    def handle_data(self, data: str) -> None:
        if self._depth:
            self._picture.append(data)
        elif self._hidden is not None:
            self.scripts[self._hidden] = self.scripts.get(self._hidden, "") + data
        else:
            self._line += data

    def end_line(self) -> None:
        line = re.sub(r" ([.,;:)])", r"\1", " ".join(self._line.split()))
        if line:
            self.lines.append(line)
        self._line = ""
