"""The seam between Python and the scanner of traces in C++, with the functions of trace_scan.cpp.

Calls release the interpreter's lock, so that files are scanned side by side in threads.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from topout.errors import UnsupportedError
from topout.kernels.build import Abi, declare, load_library
from topout.measure.process import Closing

# All in the order of the enumerations in trace_fields.h and trace_scan.cpp
Form = Literal["number", "text", "json", "lane"]
Stage = Literal["start", "members", "member_value", "events", "entry", "done", "foreign", "broken"]
Counted = Literal[
    "entries", "unreadable", "untimed", "paired", "unphased", "too_long", "trailing"
]  # fmt: skip
FIXED_FIELDS = ("phase", "category", "start", "duration", "name")

_FORMS: tuple[Form, ...] = get_args(Form)
_STAGES: tuple[Stage, ...] = get_args(Stage)
_COUNTED: tuple[Counted, ...] = get_args(Counted)

_int, _size, _long, _pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_int64, ctypes.c_void_p
_size_out = ctypes.POINTER(ctypes.c_size_t)
# name: (result, arguments), as in src/trace_scan.cpp
_ABI: Abi = {
    "topout_trace_create": (_pointer, []),
    "topout_trace_destroy": (None, [_pointer]),
    "topout_trace_field": (_int, [_pointer, ctypes.c_char_p, *[_int] * 4]),
    "topout_trace_keep_names": (_int, [_pointer]),
    "topout_trace_feed": (_int, [_pointer, ctypes.c_char_p, _size]),
    "topout_trace_finish": (_int, [_pointer]),
    "topout_trace_stage": (_int, [_pointer]),
    "topout_trace_has_events": (_int, [_pointer]),
    "topout_trace_count": (_long, [_pointer, _int]),
    "topout_trace_read_bytes": (ctypes.c_uint64, [_pointer]),
    "topout_trace_rows": (_long, [_pointer]),
    "topout_trace_present": (_long, [_pointer, _int]),
    "topout_trace_take": (_int, [_pointer, _int, _pointer, _pointer]),
    "topout_trace_strings": (_long, [_pointer]),
    "topout_trace_string_bytes": (ctypes.c_uint64, [_pointer]),
    "topout_trace_string": (_pointer, [_pointer, _long, _size_out]),
    "topout_trace_members": (_long, [_pointer]),
    "topout_trace_member": (_pointer, [_pointer, _long, _int, _size_out]),
}


class Field(NamedTuple):
    """A column of a scan: under which keys it stands, of the event or of its "args"."""

    name: str
    keys: tuple[str, ...]
    in_arguments: bool
    form: Form
    shift: int = 0  # numbers are kept times 10^shift


class Column(NamedTuple):
    """Of a field, in the order of time: numbers, or numbers of strings; where there are any."""

    values: NDArray[np.int64]
    present: NDArray[np.bool_]


@functools.cache
def scan_library() -> ctypes.CDLL:
    """The scanner, compiled at first use; raises CompilerError."""
    return declare(load_library("trace_scan", "trace_scan.cpp"), _ABI)


class NativeScan(Closing):
    """A scan of one trace; close it, or use it in a `with` block.

    `fields` begin with FIXED_FIELDS. `keeps_names`: the names of processes and threads (phase M)
    become rows too, with a start of 0, and every row has its phase. Raises CompilerError,
    UnsupportedError without memory.
    """

    def __init__(self, fields: Sequence[Field], *, keeps_names: bool = False) -> None:
        self._library = scan_library()
        self._numbers = {field.name: number for number, field in enumerate(fields)}
        self._handle: int | None = self._library.topout_trace_create()
        self._check(0 if self._handle else 1)
        if keeps_names:
            self._check(self._library.topout_trace_keep_names(self._handle))
        for number, field in enumerate(fields):
            place, form = int(field.in_arguments), _FORMS.index(field.form)
            for key in field.keys:
                self._check(
                    self._library.topout_trace_field(
                        self._handle, key.encode(), place, number, form, field.shift
                    )
                )

    def feed(self, piece: bytes) -> None:
        """The next bytes of the file, as many as there are."""
        self._check(self._library.topout_trace_feed(self._open(), piece, len(piece)))

    def finish(self) -> None:
        """No more will come."""
        self._check(self._library.topout_trace_finish(self._open()))

    @property
    def stage(self) -> Stage:
        """How far it came in the structure of the file; "done" at its end."""
        return _STAGES[int(self._library.topout_trace_stage(self._open()))]

    @property
    def has_events(self) -> bool:
        """Whether an array of events was begun."""
        return bool(self._library.topout_trace_has_events(self._open()))

    @property
    def counts(self) -> dict[Counted, int]:
        """How many entries the array of events has, and what was left out of them and why."""
        count = self._library.topout_trace_count
        return {name: count(self._open(), at) for at, name in enumerate(_COUNTED)}

    @property
    def read_bytes(self) -> int:
        """Bytes up to the last entry that was whole."""
        return int(self._library.topout_trace_read_bytes(self._open()))

    @property
    def rows(self) -> int:
        """Events that were kept."""
        return int(self._library.topout_trace_rows(self._open()))

    @property
    def string_bytes(self) -> int:
        """Of the distinct strings."""
        return int(self._library.topout_trace_string_bytes(self._open()))

    def has(self, name: str) -> bool:
        """Whether any event has a field."""
        return bool(self._library.topout_trace_present(self._open(), self._numbers[name]))

    def take(self, name: str) -> Column | None:
        """A column, given up here; None where no event has it."""
        field = self._numbers[name]
        if not self.has(name):
            return None
        values = np.zeros(self.rows, np.int64)
        present = np.zeros(self.rows, np.bool_)
        self._check(
            self._library.topout_trace_take(
                self._open(), field, values.ctypes.data, present.ctypes.data
            )
        )
        return Column(values, present)

    def strings(self) -> list[bytes]:
        """What the numbers in columns of text stand for, escapes and all."""
        library, size = self._library, ctypes.c_size_t()
        found = []
        for number in range(library.topout_trace_strings(self._open())):
            address = library.topout_trace_string(self._open(), number, ctypes.byref(size))
            found.append(ctypes.string_at(address, size.value) if size.value else b"")
        return found

    def members(self) -> list[tuple[bytes, bytes]]:
        """Keys and values, as they stand, of the object around the events."""
        library, size = self._library, ctypes.c_size_t()
        found = []
        for number in range(library.topout_trace_members(self._open())):
            parts = []
            for part in (0, 1):
                address = library.topout_trace_member(
                    self._open(), number, part, ctypes.byref(size)
                )
                parts.append(ctypes.string_at(address, size.value))
            found.append((parts[0], parts[1]))
        return found

    def close(self) -> None:
        """Give the memory back; safe to call again."""
        if self._handle:
            self._library.topout_trace_destroy(self._handle)
            self._handle = None

    def _open(self) -> int:
        if not self._handle:
            raise ValueError("the scan is closed")
        return self._handle

    @staticmethod
    def _check(status: int) -> None:
        if status != 0:
            raise UnsupportedError(
                "there is not enough memory to read the trace.", "Read fewer ranks at once."
            )
