"""CSV of nvprof, of Nsight Systems and of rocprof → Trace.

nvprof prints it with `--print-gpu-trace`, `--print-api-trace` and `--print-gpu-summary`,
`nsys stats` in its reports `cuda_gpu_trace`, `cuda_api_trace` and `cuda_gpu_kern_sum`; rocprofv3
writes a file for each kind of event (`kernel_trace`, `memory_copy_trace`, `hip_api_trace`, …), and
the versions before it one of kernels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from topout import units
from topout.errors import InputError
from topout.progress import Notify
from topout.trace.readers.csv_rows import times_and_names, unreadable, with_units
from topout.trace.readers.csv_summary import summary_calls, summary_events
from topout.trace.readers.csv_table import Layout, Tables
from topout.trace.readers.event_names import meanings_of
from topout.trace.readers.file_text import FileText, head_of, text_of
from topout.trace.readers.memory_budget import EVENT_BYTES, Hold, unlimited
from topout.trace.table import (
    HOST_DEVICE,
    SCHEMA,
    Device,
    Trace,
    TraceFormat,
    not_negative,
    with_all_columns,
)

_ACROSS = "MEMORY_COPY_PEER_TO_PEER"
_AGENT = re.compile(r"(?:agent |gpu )?(?P<number>[0-9]{1,3})", re.IGNORECASE)
_NUMBERED = re.compile(r"(?P<name>.*?)\s*\((?P<number>[0-9]{1,9})\)\s*")
_SUMMARY_DOUBTS = (
    "the file is a summary: it holds calls and sums per kernel, not when they ran; kernels and "
    "groups can be answered, but busy, idle and overlapping time, the critical path and "
    "communication between devices cannot (its events were laid end to end)",
    "a summary does not say which device ran what: all is counted as device 0",
)
CALLS_ALONE = "no kernel, copy or fill is in it: only calls of the host"


@dataclass(frozen=True)
class _Dialect:
    """What differs between the tools that write such tables."""

    format: TraceFormat
    tool: str
    kilo: int  # no size of rocprof has a prefix
    remedy: str  # how to record what can be read


_NVPROF = _Dialect(
    format="nvprof_csv",
    tool="nvprof",
    kilo=1024,  # it prints 64 KB in 123.363 us as 506.63 MB/s
    remedy="Record it with `nvprof --print-gpu-trace --csv --log-file FILE …`.",
)
_NSYS = _Dialect(
    format="nsys_csv",
    tool="Nsight Systems",
    kilo=1000,  # it prints 768 MiB as 805.306 MB
    remedy="Export it with `nsys stats --report cuda_gpu_trace --format csv FILE.nsys-rep`.",
)
_ROCPROF = _Dialect(
    format="rocprof_csv",
    tool="rocprof",
    kilo=1024,
    remedy="Record it with `rocprofv3 --kernel-trace --memory-copy-trace --hip-trace -f csv -- …`.",
)


@dataclass
class _Found:
    """What was read so far."""

    parts: list[pl.DataFrame] = field(default_factory=list)
    summaries: list[pl.DataFrame] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    unreadable: int = 0
    events: int = 0


def read_nvprof(path: Path, notify: Notify | None = None, hold: Hold = unlimited) -> Trace:
    """The trace in `path`, as nvprof 8 to 12 prints it, gzip or not.

    What is read in spite of a fault (no units row, another locale, a line cut off, several
    processes, a summary instead of a trace) is told in `doubts`. Raises InputError for a file
    that is empty or no CSV of nvprof, and where commas in numbers cannot be told from commas
    between fields.
    """
    return _read(path, _NVPROF, notify, hold)


def read_nsys_csv(path: Path, notify: Notify | None = None, hold: Hold = unlimited) -> Trace:
    """The trace in `path`, as `nsys stats` prints it, gzip or not, with other reports around it.

    Sizes in MB are printed to three digits, so bytes are exact to 500 B. Doubts and errors are
    those of `read_nvprof`.
    """
    return _read(path, _NSYS, notify, hold)


def read_rocprof_csv(path: Path, notify: Notify | None = None, hold: Hold = unlimited) -> Trace:
    """The trace in `path`, a table of rocprofv3 or of the versions before it, gzip or not.

    Devices have the numbers of the agents. Doubts and errors are those of `read_nvprof`.
    """
    return _read(path, _ROCPROF, notify, hold)


def _read(path: Path, dialect: _Dialect, notify: Notify | None, hold: Hold) -> Trace:
    found = _Found()
    with FileText(path) as text:
        _read_tables(Tables(text, notify), dialect, found, hold)
    if not found.layouts:
        raise _no_table(path, dialect)
    return _trace(path, dialect, found)


def _read_tables(tables: Tables, dialect: _Dialect, found: _Found, hold: Hold) -> None:
    for layout, rows in tables:
        if not found.layouts or layout is not found.layouts[-1]:
            found.layouts.append(layout)
            used = with_units(layout, found.doubts) if layout.contents == "trace" else layout
        if layout.contents == "trace":
            part = times_and_names(rows, used, dialect.kilo)
            found.unreadable += unreadable(rows, part)
            found.parts.append(part)
            found.events += part.height
        elif layout.contents == "summary":
            calls = summary_calls(rows, layout, dialect.kilo)
            found.events += int(calls["calls"].cast(pl.Float64).sum())
            hold(found.events * EVENT_BYTES, tables.fraction)  # before there is an event each
            found.summaries.append(summary_events(calls))
        hold(found.events * EVENT_BYTES, tables.fraction)
    found.doubts.extend(tables.damage)
    if found.unreadable:
        found.doubts.append(f"{found.unreadable} rows without a start and a duration were left out")


def _trace(path: Path, dialect: _Dialect, found: _Found) -> Trace:
    doubts = found.doubts + _doubts_about(found.layouts)
    if found.parts:
        events, devices = _completed(pl.concat(found.parts), doubts, dialect)
    else:
        events, devices = pl.concat(found.summaries), ()
        doubts.extend(_SUMMARY_DOUBTS)
    if events.is_empty():
        doubts.append("the file has a header and no events under it")
    elif devices == () and found.parts:
        doubts.append(CALLS_ALONE)
    return Trace(
        path=path,
        format=dialect.format,
        events=with_all_columns(events),
        devices=devices,
        timed=bool(found.parts),
        holds_copies=_holds_copies(dialect, found, events),
        doubts=tuple(dict.fromkeys(doubts)),
    )


def _holds_copies(dialect: _Dialect, found: _Found, events: pl.DataFrame) -> bool:
    """Whether copies would stand in the file: some tables hold kernels alone."""
    if dialect is _NVPROF or (dialect is _NSYS and found.parts):
        return True
    return bool(events["kind"].cast(pl.String).is_in(["memcpy", "memset"]).any())


def _no_table(path: Path, dialect: _Dialect) -> InputError:
    head = text_of(head_of(path).data)
    if not head.strip():
        return InputError(f"{path} is empty.", dialect.remedy)
    if "GPU activities:" in head or "Profiling result:" in head or " ---" in head:
        return InputError(f"{path} is text that {dialect.tool} wrote, not CSV.", dialect.remedy)
    return InputError(
        f"{path} is not a trace of {dialect.tool}: it has no row of column names with Start, "
        "Duration and Name.",
        dialect.remedy,
    )


def _doubts_about(layouts: Sequence[Layout]) -> list[str]:
    doubts = []
    if any(layout.decimal != "." or layout.grouping for layout in layouts):
        doubts.append("numbers are written in another locale: decimal commas or grouped thousands")
    processes = {layout.process for layout in layouts if layout.contents == "trace"}
    if len(processes) > 1:
        doubts.append(
            f"the file holds {len(processes)} processes, each with a clock that begins with it: "
            "what they did at the same time is not known (record each to a file of its own)"
        )
    return doubts


def _completed(
    events: pl.DataFrame, doubts: list[str], dialect: _Dialect
) -> tuple[pl.DataFrame, tuple[Device, ...]]:
    """`events` with kinds, numbers of devices and what names tell; and the devices."""
    events = not_negative(events, doubts)
    numbers, devices = _agents(events) if dialect is _ROCPROF else _devices(events, doubts)
    names = meanings_of(events["name"])
    on_device = pl.col("device").is_not_null()
    number = pl.col("device").replace_strict(numbers, default=None, return_dtype=pl.Int32)
    # rocprof tells copies from one device to another by their ends alone.
    is_across = (pl.col("copy_kind") == "DtoD") & pl.col("source").ne(pl.col("target"))
    peer = pl.lit("PtoP", SCHEMA["copy_kind"])
    events = events.join(names, on="name", how="left", maintain_order="left").with_columns(
        copy_kind=pl.when(is_across).then(peer).otherwise("copy_kind"),
        name=pl.when(is_across).then(pl.lit(_ACROSS, pl.Categorical)).otherwise("name"),
    )
    between = pl.col("copy_kind") == "PtoP"
    completed = events.with_columns(
        kind=pl.when(on_device | (pl.col("work") == "other"))
        .then(pl.col("work"))
        .when(pl.col("domain").cast(pl.String).str.starts_with("MARKER"))
        .then(pl.lit("annotation"))
        .otherwise(pl.lit("runtime")),
        device=number.fill_null(HOST_DEVICE),
        copy_kind=pl.when(on_device).then(pl.col("copy_kind")),
        from_device=pl.when(between).then(_number_of("source", numbers)),
        to_device=pl.when(between).then(_number_of("target", numbers)),
    )
    _doubt_copies(completed, doubts, dialect)
    _doubt_faults(completed, doubts)
    return completed.drop("work", "source", "target", "domain"), devices


def _doubt_faults(events: pl.DataFrame, doubts: list[str]) -> None:
    faults = events.filter(pl.col("kind") == "other")
    if faults.height:
        lasted = units.seconds(int(faults["duration_ns"].sum()) / 1e9)
        doubts.append(
            f"{units.counted(faults.height, 'event')} of unified memory that move nothing, such as "
            f"page faults ({lasted}), are no work and counted in no figure"
        )


def _number_of(column: str, numbers: dict[str, int]) -> pl.Expr:
    return pl.col(column).replace_strict(numbers, default=None, return_dtype=pl.Int32)


def _doubt_copies(events: pl.DataFrame, doubts: list[str], dialect: _Dialect) -> None:
    copies = events.filter(pl.col("kind").cast(pl.String) == "memcpy")
    unnamed = copies.filter((pl.col("copy_kind") == "PtoP") & pl.col("from_device").is_null())
    if unnamed.height:
        doubts.append(
            f"{unnamed.height} copies between devices do not say between which"
            + (" (the SQLite export does)" if dialect.format == "nsys_csv" else "")
        )
    if copies.height and copies["bytes"].null_count() == copies.height:
        doubts.append("the sizes of copies are not in the file")


def _agents(events: pl.DataFrame) -> tuple[dict[str, int], tuple[Device, ...]]:
    """(number by the agent's text, those that did work): "Agent 4" and "4" are number 4."""
    texts = pl.concat([events[key].cast(pl.String) for key in ("device", "source", "target")])
    numbers: dict[str, int] = {}
    for text in texts.drop_nulls().unique().sort():
        found = _AGENT.fullmatch(text.strip())
        # Old versions wrote handles, which are addresses.
        numbers[text] = int(found["number"]) if found else len(numbers)
    at_work = {numbers[text] for text in events["device"].cast(pl.String).drop_nulls().unique()}
    return numbers, tuple(Device(number, "") for number in sorted(at_work))


def _devices(events: pl.DataFrame, doubts: list[str]) -> tuple[dict[str, int], tuple[Device, ...]]:
    """(number by the device's text, the devices): "Tesla V100-SXM2-32GB (0)" is number 0."""
    texts = pl.concat([events[key].cast(pl.String) for key in ("device", "source", "target")])
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    nameless = []
    for text in texts.drop_nulls().unique(maintain_order=True):
        if match := _NUMBERED.fullmatch(text):
            numbers[text] = int(match["number"])
            names[int(match["number"])] = match["name"]
        else:
            nameless.append(text)
    for text in nameless:
        numbers[text] = next(i for i in range(len(names) + 1) if i not in names)
        names[numbers[text]] = text
        doubts.append(f"device {text!r} has no number: it was called {numbers[text]}")
    return numbers, tuple(Device(number, names[number]) for number in sorted(names))
