"""Strings as they stand in a file, to text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.trace.readers.kineto_text import decode, normalized_json


@given(st.text(), st.booleans())
def test_what_a_writer_of_json_writes(text: str, ascii_only: bool) -> None:
    raw = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
    assert decode(raw) == (text, True)


@pytest.mark.parametrize(
    ("raw", "text", "intact"),
    [
        (rb"a\/b\\c\"d", 'a/b\\c"d', True),
        (rb"\ud83d\ude00", "\U0001f600", True),
        (rb"\ud83d alone", "\ufffd alone", False),
        (rb"\ude00\ud83d", "\ufffd\ufffd", False),
        (rb"\q \u12", r"\q \u12", True),
        (b"caf\xe9", "caf\ufffd", False),
        (b"tab\tin it", "tab\tin it", True),
        ("\ufffd".encode(), "\ufffd", True),
        (rb"\ufffd", "\ufffd", True),
        (b"", "", True),
    ],
)
def test_hard_strings(raw: bytes, text: str, intact: bool) -> None:
    assert decode(raw) == (text, intact)


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (b"[[32,768],\n [768]]", "[[32, 768], [768]]"),
        (b'[ "float" , "" ]', '["float", ""]'),
        (b"[1 2]", None),
        (b"[" * 100_000, None),
    ],
)
def test_json_is_written_in_one_way(raw: bytes, written: str | None) -> None:
    assert normalized_json(raw) == written
