"""A document as Markdown, for an issue, a pull request or a notebook."""

import re
from collections.abc import Iterable, Sequence

from topout.report.blocks import Marks, blocks
from topout.report.document import Document
from topout.visible_text import visible

# What Markdown or the HTML that it may hold would obey, and what makes a link of mere text.
_OBEYED = re.compile(r"([\\`*_\[\]<>|~#&$]|:(?=//)|(?<=\bwww)\.)", re.IGNORECASE)


def to_markdown(document: Document) -> str:
    """The report in the words and tables of a wide terminal, without its pictures."""
    return "\n\n".join(blocks(document, _MARKDOWN)) + "\n"


def _text(text: str) -> str:
    return _OBEYED.sub(r"\\\1", " ".join(visible(text).split()))


def _address(text: str) -> str:
    """A text whose web addresses are meant to be links."""
    return _text(text).replace("\\://", "://")


def _table(heads: Sequence[str], is_text: Sequence[bool], rows: Iterable[Sequence[str]]) -> str:
    rules = ["---" if text else "---:" for text in is_text]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


_MARKDOWN = Marks(
    text=_text,
    address=_address,
    strong=lambda text: f"**{text}**",
    heading=lambda text, level: f"{'#' * level} {text}",
    paragraph=lambda text: text,
    items=lambda items: "\n".join(f"- {item}" for item in items),
    table=_table,
)
