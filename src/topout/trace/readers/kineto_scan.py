"""A scan of a trace in plain Python, where no compiler is: what trace_scan.cpp does, slower.

No library for JSON serves here, since all stop at the first fault (CONTRIBUTING.md): an event that
is damaged, or says NaN or a raw control character, must cost no more than itself.
"""

import functools
import re
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topout.kernels.trace_ops import Column, Counted, Field, Stage
from topout.trace.readers.file_text import decode, lane_number, scaled_number

DEEPEST_NESTING = 128
LONGEST_EVENT_BYTES = 16 << 20
LONGEST_MEMBER_BYTES = 1 << 20
MOST_MEMBERS = 1000
_IN_PAIRS = "BEbe"
_INSTANT = "iI"
_BLANKS = b" \n\r\t"
_COUNTED: tuple[Counted, ...] = (
    "entries",
    "unreadable",
    "untimed",
    "paired",
    "unphased",
    "too_long",
    "trailing",
)

_BLANK = rb"[ \n\r\t]*+"
_INSIDE_STRING = rb"(?:[^\"\\]++|\\.)*+"
_STRING = rb'"' + _INSIDE_STRING + rb'"'
_TOKEN = rb'[^ \n\r\t,:"{}\[\]]++'
_separators = re.compile(rb"[ \n\r\t,]*+")
_string = re.compile(_STRING, re.DOTALL)
_token = re.compile(_TOKEN)
_key = re.compile(rb'"(%b)"%b(:?+)%b(?=.)' % (_INSIDE_STRING, _BLANK, _BLANK), re.DOTALL)
_member = re.compile(
    rb'%b"(%b)"%b:%b(?:(?:"(%b)"|(%b))%b([,}])|(?=[{\[]))'
    % (_BLANK, _INSIDE_STRING, _BLANK, _BLANK, _INSIDE_STRING, _TOKEN, _BLANK),
    re.DOTALL,
)
_end_of_member = re.compile(_BLANK + rb"([,}])")
_empty_object = re.compile(rb"\{" + _BLANK + rb"\}")
# A string, of which the group is empty where it is cut off; or a bracket.
_structure = re.compile(rb'"%b("?)|[{}\[\]]' % _INSIDE_STRING, re.DOTALL)


class _Value(NamedTuple):
    """A value as it is written, and of a string what is between its quotes."""

    text: bytes
    quoted: bool


class _Extent(NamedTuple):
    """Behind the last byte of a value, None where it goes on, and whether it is nested too deep."""

    end: int | None
    is_too_deep: bool = False


_NOTHING = _Value(b"", False)


class PythonScan:
    """A scan of one trace, with the methods of `topout.kernels.trace_ops.NativeScan`."""

    def __init__(self, fields: Sequence[Field], *, keeps_names: bool = False) -> None:
        self._keeps_names = keeps_names
        self._fields = {field.name: field for field in fields}
        # Names of fields by the keys of an event and of its arguments.
        self._of_event, self._of_arguments = (
            {key.encode(): each.name for each in fields if each.in_arguments == where
             for key in each.keys}
            for where in (False, True)
        )  # fmt: skip
        self._values = {field.name: array("q") for field in fields}
        self._rows_with = {field.name: array("q") for field in fields}
        self._numbers: dict[bytes, int] = {}  # of strings
        self._members: list[tuple[bytes, bytes]] = []
        self._pending = b""
        self._look_again_at = 0
        self._bare = False
        self._places: NDArray[np.int64] | None = None
        self.stage: Stage = "start"
        self.has_events = False
        self.counts: dict[Counted, int] = dict.fromkeys(_COUNTED, 0)
        self.read_bytes = 0
        self.string_bytes = 0
        self.rows = 0

    def feed(self, piece: bytes) -> None:
        """The next bytes of the file, as many as there are."""
        if self.stage == "done":
            self._count_trailing(piece)
        if self.stage in ("done", "foreign", "broken"):
            return
        self._pending += piece
        # What was not complete is looked at again when twice as much has come.
        if len(self._pending) < self._look_again_at:
            return
        behind = self._run(self._pending)
        self.read_bytes += behind
        self._pending = self._pending[behind:]
        self._look_again_at = 2 * len(self._pending)

    def finish(self) -> None:
        """No more will come."""
        self._look_again_at = 0
        self.feed(b"")
        self._pending = b""

    def has(self, name: str) -> bool:
        """Whether any event has a field."""
        return bool(self._values[name])

    def take(self, name: str) -> Column | None:
        """A column in the order of time, given up here; None where no event has it."""
        if self._places is None:
            self._places = _places_by_time(self._values["start"])
        found, rows = self._values.pop(name), self._rows_with.pop(name)
        if not found:
            return None
        places = self._places[np.frombuffer(rows, np.int64)]
        values, present = np.zeros(self.rows, np.int64), np.zeros(self.rows, np.bool_)
        values[places] = np.frombuffer(found, np.int64)
        present[places] = True
        return Column(values, present)

    def strings(self) -> list[bytes]:
        """What the numbers in columns of text stand for, escapes and all."""
        return list(self._numbers)

    def members(self) -> list[tuple[bytes, bytes]]:
        """Keys and values, as they stand, of the object around the events."""
        return self._members

    def close(self) -> None:
        """Give the memory back."""
        self._values.clear()
        self._rows_with.clear()

    def _run(self, data: bytes) -> int:
        """Behind what is done with."""
        steps: dict[Stage, Callable[[bytes, int], int]] = {
            "start": self._read_start,
            "members": self._read_member,
            "events": self._read_event,
        }
        at = 0
        while step := steps.get(self.stage):
            before, stage = at, self.stage
            at = step(data, at)
            if (before, stage) == (at, self.stage):
                return at
        if self.stage == "done":
            self._count_trailing(data[at:])
        return len(data)

    def _count_trailing(self, data: bytes) -> None:
        """Bytes behind the end of the JSON, but for blanks."""
        self.counts["trailing"] += len(data.translate(None, _BLANKS))

    def _read_start(self, data: bytes, at: int) -> int:
        at += len(data[at:]) - len(data[at:].lstrip(b" \n\r\t"))
        first = data[at : at + 1]
        if first == b"[":
            self._begin_events(bare=True)
        elif first:
            self.stage = "members" if first == b"{" else "foreign"
        return at + len(first)

    def _begin_events(self, *, bare: bool) -> None:
        self._bare, self.has_events, self.stage = bare, True, "events"

    def _read_member(self, data: bytes, at: int) -> int:
        at = _behind(_separators, data, at)
        first = data[at : at + 1]
        if first == b"}":
            self.stage = "done"
            return at + 1
        if first not in (b'"', b""):
            self.stage = "broken"
            return at
        found = _key.match(data, at)
        if found is None:
            return at
        value = found.end()
        if found[2] and found[1] == b"traceEvents" and data[value : value + 1] == b"[":
            self._begin_events(bare=False)
            return value + 1
        if not found[2] or data[value : value + 1] in b"},:]":
            self.stage = "broken"
            return at
        end = _extent_of(data, value).end
        if end is None:
            return at
        if end - value <= LONGEST_MEMBER_BYTES and len(self._members) < MOST_MEMBERS:
            self._members.append((found[1], data[value:end]))
        return end

    def _read_event(self, data: bytes, at: int) -> int:
        at = _behind(_separators, data, at)
        first = data[at : at + 1]
        if first == b"]":
            self.stage = "done" if self._bare else "members"
            return at + 1
        if not first:
            return at
        if first in b"}:":
            self.stage = "broken"
            return at
        end, is_too_deep = _extent_of(data, at)
        if end is None:
            return at
        self.counts["entries"] += 1
        if end - at > LONGEST_EVENT_BYTES:
            self.counts["too_long"] += 1
        elif is_too_deep or (values := self._values_of(data[at:end])) is None:
            self.counts["unreadable"] += 1
        else:
            self._keep(values)
        return end

    def _values_of(self, event: bytes) -> dict[str, _Value] | None:
        """The last value of each field of an event; None where it cannot be read."""
        members = _members_of(event)
        if members is None:
            return None
        own: dict[str, _Value] = {}
        arguments: dict[str, _Value] = {}
        for key, value in members:
            if name := self._of_event.get(key):
                own[name] = value
            elif key == b"args":
                is_object = value.text.startswith(b"{") and not value.quoted
                inside = _members_of(value.text) if is_object else []
                if inside is None:
                    return None
                known = self._of_arguments
                arguments = {known[inner]: given for inner, given in inside if inner in known}
        return own | arguments

    def _keep(self, values: dict[str, _Value]) -> None:
        """Complete events and instants of a category become rows, as in trace_scan.cpp."""
        phase = decode(values.get("phase", _NOTHING).text).text
        if not self._keeps_names:
            values.pop("phase", None)
        if len(phase) != 1 or not phase.isascii():
            self.counts["unphased"] += 1
        elif phase in _IN_PAIRS:
            self.counts["paired"] += 1
        elif (is_name := phase == "M" and self._keeps_names) or (
            phase == "X" or (phase in _INSTANT and "category" in values)
        ):
            numbers = {name: self._number(name, value) for name, value in values.items()}
            if is_name:
                numbers["start"] = 0
            if numbers.get("start") is None:
                self.counts["untimed"] += 1
                return
            for name, number in numbers.items():
                if number is not None:
                    self._values[name].append(number)
                    self._rows_with[name].append(self.rows)
            self.rows += 1

    def _number(self, name: str, value: _Value) -> int | None:
        """What a column holds: the number, or that of the string."""
        field = self._fields[name]
        if field.form == "number":
            return scaled_number(value.text, field.shift)
        if field.form == "lane":
            return lane_number(value.text) if value.quoted else scaled_number(value.text, 0)
        if value == (b"null", False):
            return None
        text = b'"' + value.text + b'"' if field.form == "json" and value.quoted else value.text
        if text not in self._numbers:
            self.string_bytes += len(text)
        return self._numbers.setdefault(text, len(self._numbers))


@functools.cache
def _nested() -> re.Pattern[bytes]:
    """An object or array of at most DEEPEST_NESTING levels; 0.1 s to compile."""
    inside = rb'[^"{}\[\]]++|' + _STRING
    pattern = rb"[{\[](?:" + inside + rb")*+[}\]]"
    for _ in range(DEEPEST_NESTING - 1):
        pattern = rb"[{\[](?:" + inside + rb"|" + pattern + rb")*+[}\]]"
    return re.compile(pattern, re.DOTALL)


def _extent_of(data: bytes, at: int) -> _Extent:
    """Of the object, array, string or bare token that begins at `at`."""
    first = data[at : at + 1]
    if first == b'"':
        found = _string.match(data, at)
        return _Extent(found.end() if found else None)
    if first not in b"{[":
        end = _behind(_token, data, at)
        return _Extent(end if end < len(data) else None)
    if found := _nested().match(data, at):
        return _Extent(found.end())
    depth = 0
    for part in _structure.finditer(data, at):
        if part[1] == b"":
            break
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(part[0], 0)
        if depth == 0:
            return _Extent(part.end(), is_too_deep=True)
    return _Extent(None)


def _members_of(data: bytes) -> list[tuple[bytes, _Value]] | None:
    """The members of an object in their order; None where it is not one, or nested too deep."""
    if _empty_object.fullmatch(data):
        return []
    members = []
    at = 1
    while data[:1] == b"{" and (found := _member.match(data, at)):
        key, string, token, end = found.groups()
        at = found.end()
        if end is not None:
            value = _Value(token if string is None else string, string is not None)
        elif inner := _nested().match(data, at):
            value = _Value(inner[0], False)
            behind = _end_of_member.match(data, inner.end())
            if behind is None:
                return None
            at, end = behind.end(), behind[1]
        else:
            return None
        members.append((decode(key).text.encode() if b"\\" in key else key, value))
        if end == b"}":
            return members
    return None


def _behind(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    return found.end() if found else at


def _places_by_time(starts: Sequence[int]) -> NDArray[np.int64]:
    """Where each row stands in the order of time; rows of one time keep their order."""
    order = np.argsort(np.array(starts, np.int64), kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places
