"""Names from files in every text of every kind of record, shown in every form: nothing is obeyed.

Each free text of a record gets an ending that a terminal, a page or Markdown would act upon, or
that would hide what it says.
"""

import csv
import html
import io
import json
import re
import unicodedata
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.golden.commands import INPUTS
from tests.golden.rendering import csv_text, markdown_text, page_html, quick_pages
from topout.errors import InputError
from topout.records import Record, decode, encode, read
from topout.report import describe
from topout.report.to_fragment import to_fragment
from topout.report.to_terminal import to_terminal

EXAMPLES = sorted((INPUTS / "records").glob("*.json"))
OBEYED = [
    *map(chr, [*range(10), *range(11, 32), *range(0x7F, 0xA0)]),  # C0, DEL, C1
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # direction
    *"\u200b\u200c\u200d\u2060\ufeff\xad",  # without width
    *"\u2028\u2029",  # line ends
    *"\ud800\udc80\udcff\udfff",  # halves, and bytes that are no text
    *"\U000e0001\U000e0041\U000e007f",  # tags
]
MARKUP = "[bold red]x[/] [link=https://x.y]z[/link] :warning: | <b>b</b> `c` *d* [e](http://f)"
SEQUENCES = "\x1b[2J\x1b]0;title\x07\x1b]8;;http://x\x1b\\\x9b31m\nFindings\n• All is well.\r\n"
HOSTILE = f"{MARKUP} {SEQUENCES}{''.join(OBEYED)}=1+1"
FORBIDDEN = {"Cc", "Cs", "Cf", "Zl", "Zp"}  # Unicode's words for what is obeyed or not seen
# What is no name: ids by which a graph refers to its own nodes, and one of a few words.
KEYS = {"GraphNode.id", "GraphNode.inputs", "GraphNode.outputs", "GraphPort.sources"}
KEYS |= {"GenerateReport.finish"}
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def is_free(kind: Any) -> bool:
    """Whether a field's type takes any text; a Literal does not."""
    return kind is str or (get_origin(kind) is not dict and any(map(is_free, get_args(kind))))


def with_ending(value: Any, ending: str, free: bool = False) -> Any:
    """The record with this ending of each text in it that may be any."""
    if isinstance(value, str):
        return value + ending if free else value
    if isinstance(value, msgspec.Struct):
        changed = {
            each.name: with_ending(getattr(value, each.name), ending, is_free(each.type))
            for each in msgspec.structs.fields(type(value))
            if f"{type(value).__name__}.{each.name}" not in KEYS
        }
        return msgspec.structs.replace(value, **changed)
    if isinstance(value, list | tuple):
        return type(value)(with_ending(each, ending, free) for each in value)
    if isinstance(value, dict):
        return {key: with_ending(each, ending, True) for key, each in value.items()}
    return value


def obeyed_in(text: str) -> set[str]:
    """The characters of a text, line feeds apart, that are not to be there."""
    return {each for each in text if unicodedata.category(each) in FORBIDDEN} - {"\n"}


def on_terminal(record: Record, width: int, colours: bool = False) -> str:
    """What is written to a terminal, colours included."""
    system = "truecolor" if colours else None
    console = Console(file=io.StringIO(), width=width, force_terminal=colours, color_system=system)
    console.print(to_terminal(describe(record)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def of(path: Path, ending: str) -> Record:
    """An example with this ending of its texts."""
    made: Record = with_ending(read(path), ending)
    return made


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_on_a_terminal_is_obeyed(path: Path) -> None:
    """Beside colours of our own there is no control character; markup is shown as it is."""
    record = of(path, HOSTILE)
    shown = on_terminal(record, 80, colours=True)
    assert obeyed_in(STYLE.sub("", shown)) == set()
    wide = "".join(on_terminal(record, 20_000).split())
    assert "".join(MARKUP.split()) in wide


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_name_looks_like_a_line_of_the_report(path: Path) -> None:
    """With line ends in all texts the report has the lines that it has with spaces there."""
    if path.stem.startswith("generate"):
        pytest.skip("a text that was generated has lines of its own")
    broken, plain = (on_terminal(of(path, f"a{gap}b"), 20_000) for gap in ("\n", " "))
    assert broken == plain


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_on_a_page_or_in_a_notebook_is_obeyed(path: Path) -> None:
    record = of(path, HOSTILE)
    with quick_pages():
        page = page_html(record)
    for text in filter(None, (page, to_fragment(describe(record)))):
        assert obeyed_in(text) - {"\t"} == set()
        assert "<b>b</b>" not in text
        assert html.escape("<b>b</b>") in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_name_breaks_markdown_or_csv(path: Path) -> None:
    record = of(path, HOSTILE)
    text = markdown_text(record)
    assert obeyed_in(text) == set()
    assert not re.search(r"(?<!\\)<b>|(?<!\\)`c`|(?<!\\)\[e\]|https?://", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    try:
        table = csv_text(record)
    except InputError:  # no ceilings, no table
        return
    assert obeyed_in(table) == set()
    rows = list(csv.reader(io.StringIO(table)))
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_json_keeps_the_text_and_a_terminal_can_show_it(path: Path) -> None:
    """Bytes that are no UTF-8 have no place in JSON: they are spelled out."""
    text = HOSTILE.translate({ord(each): None for each in "\ud800\udc80\udcff\udfff"})
    record = of(path, text)
    written = encode(record).decode()
    assert obeyed_in(written) == set() and decode(written, type(record)) == record
    assert r"\\xff" in encode(of(path, "\udcff")).decode()
    again = decode(encode(of(path, "\udcff")), type(record))
    assert again == of(path, "\\xff")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_whatever_the_names_are_nothing_is_obeyed(path: Path) -> None:
    @settings(max_examples=4)
    @given(st.text(st.one_of(st.sampled_from(OBEYED), st.characters()), min_size=1, max_size=20))
    def draw(ending: str) -> None:
        record = of(path, ending)
        written = encode(record).decode()
        forms = [on_terminal(record, 80), markdown_text(record), written]
        assert all(_unseen(form) == set() for form in forms)
        json.loads(written)

    draw()


def _unseen(text: str) -> set[str]:
    """Of the characters in question those that any terminal obeys; some of Cf are letters."""
    return set(text) & set(OBEYED)
