"""Strings and numbers of a JSON file as they stand there, to text and whole numbers.

What is damaged is read as far as it goes; numbers are exact, by the rules of trace_number.h.
"""

import json
import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context
from typing import NamedTuple

_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_REPLACEMENT = "\ufffd"
_NUMBER = re.compile(rb"(-?[0-9]+(?:\.[0-9]*)?)(?:[eE][+-]?[0-9]+)?")
# Digits beyond these are cut off, which leaves the first one behind the point as it is: it alone
# decides how a half is rounded. Numbers beyond the exponents become no number, which is not finite.
_SIXTY_DIGITS = Context(prec=60, rounding=ROUND_DOWN, traps=[])
_LANE = b"stream "


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


def scaled_number(text: bytes, shift: int) -> int | None:
    """The number in `text` times 10^shift, exactly, halves rounded away from zero.

    None where it is no number or needs more than 63 bits and a sign.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    if not found[1].strip(b"-0."):
        return 0
    value = _SIXTY_DIGITS.scaleb(_SIXTY_DIGITS.create_decimal(text.decode()), shift)
    if not value.is_finite() or value.adjusted() > 20:
        return None
    whole = int(value.to_integral_value(ROUND_HALF_UP))
    return whole if abs(whole) < 2**63 else None


def lane_number(text: bytes) -> int | None:
    """A number, or the N of "stream N", as PyTorch 1.8 named the streams of a device."""
    return scaled_number(text.removeprefix(_LANE), 0)
