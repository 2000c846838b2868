"""A scan of a trace in plain Python, where no compiler is: what trace_scan.cpp does, slower."""

import re
from array import array
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from topout.kernels.trace_ops import Column, Counted, Field, Stage
from topout.trace.readers.kineto_events import DEEPEST_NESTING, Value, extent_of, members_of
from topout.trace.readers.kineto_numbers import lane_number, scaled_number
from topout.trace.readers.kineto_text import decode

LONGEST_EVENT_BYTES = 16 << 20
LONGEST_MEMBER_BYTES = 1 << 20
MOST_MEMBERS = 1000
_SEPARATORS = re.compile(rb"[ \n\r\t,]*")
_KEY = re.compile(rb'"((?:[^"\\]++|\\.)*+)"[ \n\r\t]*+(:?+)[ \n\r\t]*+(?=.)', re.DOTALL)
_IN_PAIRS = "BEbe"
_INSTANT = "iI"
_COUNTED: tuple[Counted, ...] = (
    "entries",
    "unreadable",
    "untimed",
    "paired",
    "unphased",
    "too_long",
)


class PythonScan:
    """A scan of one trace, with the methods of `topout.kernels.trace_ops.NativeScan`."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = [field for field in fields if field.name != "phase"]
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
        self.rows = 0

    def feed(self, piece: bytes) -> None:
        """The next bytes of the file, as many as there are."""
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
        return len(data)

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
        at = _after_separators(data, at)
        first = data[at : at + 1]
        if first not in (b'"', b""):
            self.stage = "done" if first == b"}" else "broken"
            return at
        found = _KEY.match(data, at)
        if found is None:
            return at
        if not found[2]:
            self.stage = "broken"
            return at
        value = found.end()
        if found[1] == b"traceEvents" and data[value : value + 1] == b"[":
            self._begin_events(bare=False)
            return value + 1
        if data[value : value + 1] in b"},:]":
            self.stage = "broken"
            return at
        end = extent_of(data, value).end
        if end is None:
            return at
        if end - value <= LONGEST_MEMBER_BYTES and len(self._members) < MOST_MEMBERS:
            self._members.append((found[1], data[value:end]))
        return end

    def _read_event(self, data: bytes, at: int) -> int:
        at = _after_separators(data, at)
        first = data[at : at + 1]
        if first == b"]":
            self.stage = "done" if self._bare else "members"
            return at + 1
        if not first:
            return at
        if first in b"}:":
            self.stage = "broken"
            return at
        end, depth = extent_of(data, at)
        if end is None:
            return at
        self.counts["entries"] += 1
        if end - at > LONGEST_EVENT_BYTES:
            self.counts["too_long"] += 1
        elif depth > DEEPEST_NESTING or not self._keep(data[at:end]):
            self.counts["unreadable"] += 1
        return end

    def _keep(self, event: bytes) -> bool:
        """Whether it could be read; the events that are kept are those of trace_scan.cpp."""
        members = members_of(event)
        if members is None:
            return False
        arguments: dict[str, Value] | None = {}
        if (given := members.get("args")) and given.text[:1] == b"{" and not given.quoted:
            arguments = members_of(given.text)
        if arguments is None:
            return False
        phase = decode(members["ph"].text).text if "ph" in members else ""
        if len(phase) != 1 or not phase.isascii():
            self.counts["unphased"] += 1
        elif phase == "X" or (phase in _INSTANT and "cat" in members):
            self._append(members, arguments)
        elif phase in _IN_PAIRS:
            self.counts["paired"] += 1
        return True

    def _append(self, members: dict[str, Value], arguments: dict[str, Value]) -> None:
        row = {
            field.name: number
            for field in self._fields
            if (number := self._number(field, arguments if field.in_arguments else members))
            is not None
        }
        if "start" not in row:
            self.counts["untimed"] += 1
            return
        for name, number in row.items():
            self._values[name].append(number)
            self._rows_with[name].append(self.rows)
        self.rows += 1

    def _number(self, field: Field, values: dict[str, Value]) -> int | None:
        """What a column holds: the number, or that of the string."""
        found = [values[key] for key in field.keys if key in values]
        if not found:
            return None
        value = found[-1]
        if field.form == "number":
            return scaled_number(value.text, field.shift)
        if field.form == "lane":
            text = value.text
            return lane_number(text) if value.quoted else scaled_number(text, 0)
        if value == (b"null", False):
            return None
        text = b'"' + value.text + b'"' if field.form == "json" and value.quoted else value.text
        return self._numbers.setdefault(text, len(self._numbers))


def _after_separators(data: bytes, at: int) -> int:
    found = _SEPARATORS.match(data, at)
    return found.end() if found else at


def _places_by_time(starts: Sequence[int]) -> NDArray[np.int64]:
    """Where each row stands in the order of time; rows of one time keep their order."""
    order = np.argsort(np.array(starts, np.int64), kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places
