"""Where events end in a piece of JSON, and what stands in one: the rules of trace_event.h."""

import re
from typing import NamedTuple

import msgspec

from topout.trace.readers.kineto_text import decode

DEEPEST_NESTING = 128
# A string, closed or cut off by the end of what is there; or a bracket.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)|[{}\[\]]', re.DOTALL)
_STRING = re.compile(rb'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_TOKEN = re.compile(rb'[^ \n\r\t,:"{}\[\]]+')
_BLANKS = re.compile(rb"[ \n\r\t]*")
_members_of_event = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Value(NamedTuple):
    """A value as it is written, and of a string what is between its quotes."""

    text: bytes
    quoted: bool


class Extent(NamedTuple):
    """Behind the last byte of a value, and how deep it is nested; no end: it goes on."""

    end: int | None
    depth: int


def extent_of(data: bytes, start: int) -> Extent:
    """Of the value that begins at `start`: an object, an array, a string or a bare token."""
    if data[start : start + 1] not in (b"{", b"[", b'"'):
        token = _TOKEN.match(data, start)
        end = token.end() if token else start
        return Extent(end if end < len(data) else None, 0)
    depth = deepest = 0
    for found in _STRUCTURE.finditer(data, start):
        first = found[0][:1]
        if first == b'"':
            if not found[1].startswith(b'"'):
                return Extent(None, deepest)
        elif first in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
        if depth == 0:
            return Extent(found.end(), deepest)
    return Extent(None, deepest)


def members_of(data: bytes) -> dict[str, Value] | None:
    """The members of an object, the last of equal keys; None where it is not one."""
    try:
        raw = _members_of_event.decode(data)
    except (ValueError, RecursionError):  # not JSON, or not UTF-8
        return _lenient_members(data)
    return {key: _value_of(bytes(value).strip(b" \n\r\t")) for key, value in raw.items()}


def _value_of(raw: bytes) -> Value:
    return Value(raw[1:-1], True) if raw[:1] == b'"' else Value(raw, False)


def _lenient_members(data: bytes) -> dict[str, Value] | None:
    """The same for what a strict reader refuses inside of values: NaN, raw control characters."""
    found: dict[str, Value] = {}
    at = _after_blanks(data, 1)
    if data[:1] != b"{":
        return None
    if data[at : at + 1] == b"}":
        return found
    while True:
        key = _STRING.match(data, at)
        if key is None:
            return None
        at = _after_blanks(data, key.end())
        if data[at : at + 1] != b":":
            return None
        at = _after_blanks(data, at + 1)
        end = extent_of(data, at).end
        if end is None or end == at:
            return None
        found[decode(key[1]).text] = _value_of(data[at:end])
        at = _after_blanks(data, end)
        if data[at : at + 1] == b"}":
            return found
        if data[at : at + 1] != b",":
            return None
        at = _after_blanks(data, at + 1)


def _after_blanks(data: bytes, at: int) -> int:
    blanks = _BLANKS.match(data, at)
    return blanks.end() if blanks else at
