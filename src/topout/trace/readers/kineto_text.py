"""Strings of a JSON file as they stand between their quotes, to text."""

import json
import re
from typing import NamedTuple

_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_REPLACEMENT = "\ufffd"


class DecodedText(NamedTuple):
    """Text, and whether all its bytes could be read."""

    text: str
    intact: bool


def decode(raw: bytes) -> DecodedText:
    """The text of a JSON string without its quotes.

    Bytes that are not UTF-8, and halves of surrogate pairs that stand alone, become U+FFFD; an
    escape that JSON does not know stays as it is written.
    """
    try:
        text, intact = raw.decode(), True
    except UnicodeDecodeError:
        text, intact = raw.decode(errors="replace"), False
    if "\\" not in text:
        return DecodedText(text, intact)
    text = _ESCAPE.sub(lambda escape: _meaning(escape[1], escape[2]), text)
    # Pairs of surrogates become one character on the way through UTF-16.
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return DecodedText(whole, intact and whole.count(_REPLACEMENT) == text.count(_REPLACEMENT))


def _meaning(code: str | None, letter: str) -> str:
    return chr(int(code, 16)) if code else _SHORT[letter]


def normalized_json(raw: bytes) -> str | None:
    """A JSON value written as Python's json module does: "[[32, 768], [768]]".

    None where it cannot be read.
    """
    try:
        return json.dumps(json.loads(raw.decode(errors="replace"), strict=False))
    except (ValueError, RecursionError):
        return None
