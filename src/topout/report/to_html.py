"""A document as one HTML page that holds everything it shows and loads nothing."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from topout import records
from topout.report.charts.theme import chart_svg
from topout.report.document import (
    Chart,
    Document,
    Figures,
    Part,
    Picture,
    Section,
    shown_parts,
)
from topout.report.vega_bundle import vega_bundle
from topout.visible_text import escaped_json, visible

# By the kind of record: what is typed, where that is not the kind's own words.
_COMMANDS = {"climb-forecast": "climb --dry-run"}


def to_html(document: Document) -> str:
    """The report as a self-contained page.

    Charts are interactive where scripts run and static pictures where they do not. Whatever the
    record says is shown as text, also where it looks like markup; the page proves by its content
    security policy that it loads nothing.
    """
    drawn = {id(part): list(part.draw()) for part in _figures(document.every_part)}
    charts = [chart for each in drawn.values() for chart in each]
    record: Any = document.record
    kind: str = record.__struct_config__.tag
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            document=document,
            kind=kind,
            command=_COMMANDS.get(kind, kind.replace("-", " ")),
            title=document.title,
            version=record.topout_version,
            created_at=record.created_at,
            charts_of=lambda part: drawn[id(part)],
            picture_of=_picture,
            drawing_of=_drawing,
            specs=_script_json({chart.key: chart.spec for chart in charts}),
            record_json=_script_json(json.loads(records.encode(record, sealed=True))),
            vega=Markup(vega_bundle()) if charts else "",  # noqa: S704 - the library, not input
        )
    )


def _figures(parts: Iterable[Part]) -> Iterator[Figures]:
    """All charts of the page, in its order."""
    for part in shown_parts(parts, "page"):
        if isinstance(part, Figures):
            yield part
        elif isinstance(part, Section):
            yield from _figures(part.parts)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("topout.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.globals["page_parts"] = lambda parts: list(shown_parts(parts, "page"))
    environment.globals["anchor"] = _anchor
    environment.filters["unbroken"] = _unbroken
    environment.filters["pieces"] = _pieces
    for kind in Part.__args__:
        environment.tests[kind.__name__.lower()] = _is(kind)
    return environment


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda part: isinstance(part, kind)


def _shown(value: Any) -> Any:
    """Every expression of the template passes here before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def _unbroken(sentence: str) -> str:
    """The sentence with its intervals kept on one line."""
    return re.sub(r"\[([^\[\]]+), ([^\[\]]+)\]", "[\\1,\u00a0\\2]", sentence)


def _anchor(link: str) -> bool:
    """Whether a link may stand in the page: a place of its own, or a web address."""
    return re.match(r"(#[\w-]+|https?://[^\s<>\"'`]+)\Z", link) is not None


_ADDRESS = re.compile(r"https?://[^\s<>\"'`]+")


def _pieces(text: str) -> list[tuple[str, str]]:
    """A text cut into words and web addresses (http and https alone): (text, address or "")."""
    pieces, end = [], 0
    for found in _ADDRESS.finditer(text):
        address = found.group().rstrip(".,;:)")
        pieces.append((text[end : found.start()], ""))
        pieces.append((address, address))
        end = found.start() + len(address)
    return [piece for piece in [*pieces, (text[end:], "")] if piece[0]]


def _picture(chart: Chart) -> Markup:
    """The chart as SVG to be inlined; its ids are made its own, since a page has many charts."""
    svg = chart_svg(chart.spec)
    svg = re.sub(r'\bid="', f'id="{chart.key}-', svg)
    svg = svg.replace("url(#", f"url(#{chart.key}-")
    return Markup(svg)  # noqa: S704 - the renderer has escaped all text


def _drawing(part: Picture) -> Markup:
    return Markup(part.draw())  # noqa: S704 - the drawing has escaped all text


def _script_json(value: Any) -> Markup:
    """JSON that a `<script>` can hold: no character of it can end the element."""
    text = escaped_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped just above
