"""JSON of Nsight Systems → Trace: a line for each event, and the names they point at in others."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl

from topout import units
from topout.errors import InputError
from topout.progress import Notify
from topout.trace.readers.event_names import meanings_of
from topout.trace.readers.file_text import FileText
from topout.trace.readers.memory_budget import EVENT_BYTES, TEXT_FACTOR, Hold, unlimited
from topout.trace.readers.nsys_sqlite import COPY_KINDS, NVTX_RANGES
from topout.trace.table import HOST_DEVICE, Trace, not_negative, with_all_columns

_REMEDY = "Export it with `nsys export --type sqlite FILE.nsys-rep`."
_LONGEST_LINE_BYTES = 1 << 30
_MOST_NS = 1 << 61
_CHUNK_ROWS = 1 << 16
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "start_ns": pl.Int64, "duration_ns": pl.Int64, "kind": pl.String, "text": pl.String,
    "text_id": pl.Int64, "device": pl.Int32, "stream": pl.Int64, "process": pl.Int64,
    "thread": pl.Int64, "correlation": pl.Int64, "bytes": pl.Int64, "copy_kind": pl.String,
}  # fmt: skip
_Number = int | str | None  # protocol buffers write numbers of 64 bits as texts


class _Kernel(msgspec.Struct, rename="camel"):
    demangled_name: _Number = None
    short_name: _Number = None
    mangled_name: _Number = None


class _Copy(msgspec.Struct, rename="camel"):
    sizebytes: _Number = None
    copy_kind: _Number = None


class _Fill(msgspec.Struct, rename="camel"):
    sizebytes: _Number = None


class _Sync(msgspec.Struct, rename="camel"):
    sync_type: _Number = None


class _Moment(msgspec.Struct):
    """An event that a stream recorded."""


class _CudaEvent(msgspec.Struct, rename="camel"):
    start_ns: _Number = None
    end_ns: _Number = None
    correlation_id: _Number = None
    device_id: _Number = None
    stream_id: _Number = None
    global_pid: _Number = None
    kernel: _Kernel | None = None
    memcpy: _Copy | None = None
    memset: _Fill | None = None
    sync: _Sync | None = None
    record: _Moment | None = msgspec.field(default=None, name="cudaEventRecord")


class _Call(msgspec.Struct, rename="camel"):
    start_ns: _Number = None
    end_ns: _Number = None
    correlation_id: _Number = None
    name: _Number = None
    global_tid: _Number = None


class _Range(msgspec.Struct, rename="pascal"):
    type: _Number = None
    timestamp: _Number = None
    end_timestamp: _Number = None
    text: str | None = None
    text_id: _Number = None
    global_tid: _Number = None


class _Line(msgspec.Struct):
    """An event, a name (`type` "String"), or all names at once (`data`)."""

    work: _CudaEvent | None = msgspec.field(default=None, name="CudaEvent")
    call: _Call | None = msgspec.field(default=None, name="TraceProcessEvent")
    range: _Range | None = msgspec.field(default=None, name="NvtxEvent")
    type: str | None = None
    id: _Number = None
    value: str | None = None
    data: list[str] | None = None


_LINES = msgspec.json.Decoder(_Line)
_EVENT_KIND = re.compile(rb'"(\w{1,60}Event)"\s*:')
# Events of the host and of the profiler itself, which no figure is about.
_NO_WORK = ("CommEvent", "SchedEvent", "DiagnosticEvent", "CudaEvent")
_MOST_KINDS = 5
_Row = tuple[object, ...]


@dataclass
class _Found:
    """What was read so far."""

    parts: list[pl.DataFrame] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    events: int = 0
    name_bytes: int = 0
    lines: int = 0
    unreadable: int = 0
    open_ranges: int = 0
    timeless: int = 0
    # Kinds of events that are not read: how many there were, and how long, where that is said.
    others: Counter[str] = field(default_factory=Counter)
    other_cuda_ns: int = 0

    def pack(self) -> None:
        """Rows as columns: what exists as Python objects stays small."""
        self.parts.append(pl.DataFrame(self.rows, schema=_COLUMNS, orient="row"))
        self.events += len(self.rows)
        self.rows = []


def read_nsys_json(path: Path, notify: Notify | None = None, hold: Hold = unlimited) -> Trace:
    """The trace in a file that `nsys export --type json` wrote, gzip or not.

    Lines that cannot be read are told in `doubts`. Raises InputError for a file without any event
    of CUDA, and what `hold` raises.
    """
    found = _Found()
    with FileText(path) as text:
        for line in _lines(text, notify, hold, found):
            _take(line, found)
        trouble = text.trouble
    found.pack()
    events = pl.concat(found.parts)
    kinds = set(events["kind"].unique())
    if not kinds & {"kernel", "memcpy", "memset", "runtime"}:
        raise InputError(
            f"{path} is JSON of Nsight Systems without an event of CUDA.",
            "Record with `nsys profile --trace=cuda,nvtx`, then `nsys export --type sqlite`.",
        )
    doubts = [f"The file is incomplete: {trouble}."] if trouble else []
    if found.unreadable:
        doubts.append(f"{found.unreadable} of {found.lines} lines could not be read: left out.")
    if found.open_ranges:
        doubts.append(f"NVTX ranges without an end, left out: {found.open_ranges}.")
    if found.others:
        doubts.append(_about_others(found))
    if not kinds & {"kernel"}:
        doubts.append("No kernel is in it (was it recorded with --trace=cuda?).")
    if found.timeless:
        doubts.append(f"Events without a start or an end, left out: {found.timeless}.")
    table = _table(not_negative(events, doubts), found.names)
    if across := table.filter(pl.col("copy_kind") == "PtoP").height:
        doubts.append(f"{across} copies between devices do not say between which")
    return Trace(path=path, format="nsys_json", events=table, doubts=tuple(doubts))


def _lines(text: FileText, notify: Notify | None, hold: Hold, found: _Found) -> Iterator[bytes]:
    rest = bytearray()  # of a line; one that holds all names may be long
    for piece in text:
        first, *others = piece.data.split(b"\n")
        rest += first
        if len(rest) > _LONGEST_LINE_BYTES:
            raise InputError(f"{text.path} has a line of more than 1 GiB.", _REMEDY)
        if others:
            yield bytes(rest)
            yield from others[:-1]
            rest = bytearray(others[-1])
        held = (found.events + len(found.rows)) * EVENT_BYTES + found.name_bytes * TEXT_FACTOR
        hold(held + len(rest), piece.fraction)
        if notify is not None:
            notify(f"reading {text.path.name}", piece.fraction)
    yield bytes(rest)


def _about_others(found: _Found) -> str:
    named = found.others.most_common(_MOST_KINDS)
    listed = ", ".join(f"{units.counted(count, name)}" for name, count in named)
    more = len(found.others) - len(named)
    rest = f" and {more} more kinds" if more else ""
    lasted = f" ({units.seconds(found.other_cuda_ns / 1e9)})" if found.other_cuda_ns else ""
    return f"Of kinds that are not read, counted in no figure: {listed}{rest}{lasted}."


def _take(line: bytes, found: _Found) -> None:
    if not line.strip():
        return
    found.lines += 1
    try:
        said = _LINES.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found.unreadable += 1
        return
    row: _Row | None = None
    if said.work is not None:
        row = _of_device(said.work, found)
    elif said.call is not None:
        row = _of_call(said.call, found)
    elif said.range is not None:
        row = _of_range(said.range, found)
    elif said.data is not None:
        found.names |= dict(enumerate(said.data))
        found.name_bytes += len(line)
    elif said.type == "String" and said.value is not None and (key := _whole(said.id)) is not None:
        found.names[key] = said.value
        found.name_bytes += len(line)
    elif (kind := _EVENT_KIND.search(line)) and (name := kind[1].decode()) not in _NO_WORK:
        found.others[name] += 1
    if row is not None:
        found.rows.append(row)
        if len(found.rows) >= _CHUNK_ROWS:
            found.pack()


def _whole(given: _Number) -> int | None:
    """A number that may be written as text; None for what is none or too large."""
    if isinstance(given, str):
        if len(given) > 20 or not given.removeprefix("-").isdecimal() or not given.isascii():
            return None
        given = int(given)
    return given if given is not None and abs(given) <= _MOST_NS else None


def _span(begin: _Number, end: _Number) -> tuple[int, int] | None:
    start, stop = _whole(begin), _whole(end)
    return None if start is None or stop is None else (start, stop - start)


def _of_device(event: _CudaEvent, found: _Found) -> _Row | None:
    span = _span(event.start_ns, event.end_ns)
    if span is None:
        found.timeless += 1
        return None
    text: str | None = None
    text_id: int | None = None
    size: int | None = None
    way: str | None = None
    if event.kernel is not None:
        kind, own = "kernel", event.kernel
        given = next((n for n in (own.demangled_name, own.short_name, own.mangled_name) if n), None)
        text_id = _whole(given)
        text = given if text_id is None and isinstance(given, str) else None
    elif event.memcpy is not None:
        kind, size = "memcpy", _whole(event.memcpy.sizebytes)
        way = COPY_KINDS.get(_whole(event.memcpy.copy_kind) or 0)
        text = f"[CUDA memcpy {way or 'of unknown kind'}]"
    elif event.memset is not None:
        kind, size, text = "memset", _whole(event.memset.sizebytes), "[CUDA memset]"
    elif event.sync is not None:
        kind, text = "gpu_sync", str(event.sync.sync_type or "Synchronize")
    else:
        if event.record is None:  # which is a moment
            found.others["other event of CUDA"] += 1
            found.other_cuda_ns += span[1]
        return None
    process = _whole(event.global_pid)
    return (
        *span, kind, text, text_id, _small(event.device_id), _whole(event.stream_id),
        None if process is None else (process >> 24) & 0xFFFFFF, None,
        _whole(event.correlation_id), size, way,
    )  # fmt: skip


def _small(given: _Number) -> int | None:
    number = _whole(given)
    return number if number is not None and 0 <= number < 1 << 31 else None


def _of_host(
    span: tuple[int, int], kind: str, text: str | None, text_id: int | None, thread: _Number,
    correlation: int | None = None,
) -> _Row:  # fmt: skip
    whose = _whole(thread)
    process = None if whose is None else (whose >> 24) & 0xFFFFFF
    own = None if whose is None else whose & 0xFFFFFF
    return (*span, kind, text, text_id, HOST_DEVICE, None, process, own, correlation, None, None)


def _of_call(call: _Call, found: _Found) -> _Row | None:
    span = _span(call.start_ns, call.end_ns)
    if span is None:
        found.timeless += 1
        return None
    text_id = _whole(call.name)
    text = call.name if text_id is None and isinstance(call.name, str) else None
    correlation = _whole(call.correlation_id) or None
    return _of_host(span, "runtime", text, text_id, call.global_tid, correlation)


def _of_range(event: _Range, found: _Found) -> _Row | None:
    if _whole(event.type) not in (None, *NVTX_RANGES):
        return None
    span = _span(event.timestamp, event.end_timestamp)
    if span is None:
        found.open_ranges += 1
        return None
    return _of_host(span, "annotation", event.text, _whole(event.text_id), event.global_tid)


def _table(events: pl.DataFrame, names: dict[int, str]) -> pl.DataFrame:
    known = pl.DataFrame(
        {"text_id": list(names), "name_of_id": list(names.values())},
        schema={"text_id": pl.Int64, "name_of_id": pl.String},
    )
    named = events.join(known, on="text_id", how="left", maintain_order="left")
    name = pl.coalesce("text", "name_of_id", pl.lit("(name not in the file)"))
    frame = named.with_columns(name=name.cast(pl.Categorical))
    meanings = meanings_of(frame["name"]).select("name", "collective")
    joined = frame.join(meanings, on="name", how="left", maintain_order="left").with_columns(
        collective=pl.when(pl.col("kind") == "kernel").then("collective")
    )
    return with_all_columns(joined.drop("text", "text_id", "name_of_id"))
