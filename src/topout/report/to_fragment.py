"""A document as a piece of HTML in a notebook: its facts and tables, without scripts."""

from collections.abc import Iterable, Sequence

from markupsafe import escape

from topout.report.blocks import Marks, blocks
from topout.report.document import Document
from topout.visible_text import visible

_MOST_ROWS = 20
# The notebook's own colours, light or dark, are inherited.
_STYLE = """<style>
.topout-record { overflow-x: auto; }
.topout-record table { border-collapse: collapse; margin: .5em 0; }
.topout-record th, .topout-record td {
  background: none; border-bottom: 1px solid rgba(128, 128, 128, .4); color: inherit;
  padding: .2em .6em; text-align: right; vertical-align: top;
}
.topout-record .text { max-width: 60em; text-align: left; }
</style>"""


def to_fragment(document: Document) -> str:
    """The report without its pictures, its tables cut to the first rows."""
    # Formulas between dollar signs are not to be set: names come from files.
    head = f'<div class="topout-record tex2jax_ignore mathjax_ignore">{_STYLE}'
    return "\n".join([head, *blocks(document, _HTML), "</div>"])


def _text(text: str) -> str:
    return str(escape(visible(text)))


def _table(heads: Sequence[str], is_text: Sequence[bool], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row("th", heads, is_text), *(_row("td", cells, is_text) for cells in rows)]
    return "\n".join(["<table>", *lines, "</table>"])


def _row(tag: str, cells: Sequence[str], is_text: Sequence[bool]) -> str:
    marks = [f'<{tag} class="text">' if text else f"<{tag}>" for text in is_text]
    inside = (f"{mark}{cell}</{tag}>" for mark, cell in zip(marks, cells, strict=True))
    return f"<tr>{''.join(inside)}</tr>"


_HTML = Marks(
    text=_text,
    address=_text,
    strong=lambda text: f"<b>{text}</b>",
    heading=lambda text, level: f"<h{level}>{text}</h{level}>",
    paragraph=lambda text: f"<p>{text}</p>",
    items=lambda items: f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>",
    table=_table,
    most=_MOST_ROWS,
)
