"""Text that is shown: what would be obeyed is not, and what JSON holds is the same."""

import json
import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.cli.verbosity import telling
from topout.progress import say
from topout.records import Doubt
from topout.visible_text import as_text, escaped_json, one_line, shown, visible, visible_prose

OBEYED = {
    "an escape sequence": "\x1b",
    "a control character": "\x00",
    "a tabulator": "\t",
    "a carriage return": "\r",
    "a bell": "\x07",
    "delete": "\x7f",
    "CSI of one byte": "\x9b",
    "another direction": "\u202e",
    "an isolate": "\u2066",
    "an Arabic mark": "\u061c",
    "no width": "\u200b",
    "a byte order mark": "\ufeff",
    "a soft hyphen": "\xad",
    "a line separator": "\u2028",
    "a tag": "\U000e0041",
    "half a pair": "\ud800",
    "a byte that is no text": "\udcff",
}


@pytest.mark.parametrize("character", OBEYED.values(), ids=OBEYED)
def test_what_a_terminal_obeys_is_seen(character: str) -> None:
    assert visible(f"a{character}b") == visible_prose(f"a{character}b") == "a\ufffdb"


def test_joiners_are_a_disguise_in_names_and_letters_in_prose() -> None:
    assert visible("a\u200db\u200cc") == "a\ufffdb\ufffdc"
    assert visible_prose("a\u200db\u200cc") == "a\u200db\u200cc"


@pytest.mark.parametrize(
    "text", ["", "plain", "ä ß 漢字 🙂 ≤ ×", "two\nlines", "e\u0301", "❤\ufe0f"]
)
def test_other_text_is_as_it_was(text: str) -> None:
    assert visible(text) == visible_prose(text) == text


def test_a_name_is_one_line() -> None:
    assert one_line("a\n\n  b\r\nc\n") == "a b\ufffd c"
    assert one_line("as it  was") == "as it  was"


def test_a_record_is_shown_in_all_its_parts() -> None:
    """What is fine is the very same object."""
    doubt = Doubt(about="a\x1bb", sentence="one\ntwo", remedy="fine")
    expected = Doubt(about="a\ufffdb", sentence="one two", remedy="fine")
    assert shown(doubt) == expected
    value = {"k\n": (doubt, [doubt], None, 1.5)}
    assert shown(value) == {"k": (expected, [expected], None, 1.5)}
    assert shown(expected) is expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaped_json_means_the_same(text: str) -> None:
    for plain in (json.dumps(text, ensure_ascii=False), msgspec.json.encode(text).decode()):
        escaped = escaped_json(plain)
        assert json.loads(escaped) == msgspec.json.decode(escaped) == text
        assert visible(escaped) == escaped


def test_bytes_that_are_no_text_are_spelled() -> None:
    name = b"a\xff\x80.json".decode(errors="surrogateescape")
    assert as_text({name: [name, ("\ud800", 1)]}) == {
        r"a\xff\x80.json": [r"a\xff\x80.json", [r"\ud800", 1]]
    }


def test_what_is_said_and_logged_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b[2Ja\u202e")
    with telling(quiet=False, verbose=True) as notify:
        notify("reading \x1b]0;t\x07", 0.5)
        logging.getLogger("topout.launch").warning("rank 0: %s", "\x9b31m")
    error = capsys.readouterr().err
    assert visible(error) == error and error.count("\n") == 3
