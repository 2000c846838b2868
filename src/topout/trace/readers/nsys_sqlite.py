"""Nsight Systems' SQLite export → Trace."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import polars as pl

from topout.errors import InputError
from topout.progress import Notify
from topout.trace.readers.event_names import meanings_of
from topout.trace.readers.memory_budget import Hold, unlimited
from topout.trace.readers.nsys_database import Database, Machine, read_machine
from topout.trace.table import HOST_DEVICE, Trace, not_negative, with_all_columns

_CUPTI = "CUPTI_ACTIVITY_KIND_"
# `copyKind` of CUPTI; arrays lie on the device; from 11 on managed memory moves by itself.
COPY_KINDS = {
    **dict.fromkeys((1, 3, 11), "HtoD"),
    **dict.fromkeys((2, 4, 12), "DtoH"),
    **dict.fromkeys((5, 6, 7, 8, 13), "DtoD"),
    9: "HtoH",
    10: "PtoP",
}
_SYNCHRONIZATIONS = {
    1: "Event Synchronize",
    2: "Stream Wait Event",
    3: "Stream Synchronize",
    4: "Context Synchronize",
}
# Under which names versions and converters keep NVTX's events
NVTX_TABLES = ("NVTX_EVENTS", "NVTX_PUSHPOP_RANGES", "NVTX_RANGES", "NVTX_RANGE")
# Ranges among NVTX's events: pushed and popped, started and ended, each also of a task.
NVTX_RANGES = (59, 60, 70, 71)
_MOST_NS = 2.0**62
_NO_STREAM = 0xFFFFFFFF  # CUPTI's way to say that a wait belongs to no stream
_REMEDY = "Export it with `nsys export --type sqlite FILE.nsys-rep`."


def read_nsys_sqlite(path: Path, notify: Notify | None = None, hold: Hold = unlimited) -> Trace:
    """The trace in an SQLite file that `nsys export` or `nsys stats` wrote.

    Tables exist only when something was recorded for them; each is read when it is there. Rows
    that cannot be read are told in `doubts`. Raises InputError for a file that is missing, no
    SQLite database, damaged from its start, or one without a table of CUDA's work.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file.", "Give the SQLite file that `nsys export` wrote.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return _read(Database(path, connection, hold), notify)
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path} is not an SQLite database or is damaged ({error}).", _REMEDY
        ) from None


def _read(database: Database, notify: Notify | None) -> Trace:
    _check_tables(database)
    machine = read_machine(database)
    parts = []
    for done, reader in enumerate(_READERS):
        table = next((name for name in reader.tables if name in database.tables), "")
        rows = database.read(table, reader.numbers, reader.text)
        if rows is not None and rows.height:
            parts.append(reader.events(rows, database, machine))
        if notify:
            notify(f"reading {database.path.name}", (done + 1) / len(_READERS))
    nothing = pl.DataFrame(schema={"start_ns": pl.Int64, "duration_ns": pl.Int64})
    events = pl.concat([nothing, *parts], how="diagonal")
    doubts = list(database.doubts)
    if not any((part["kind"].cast(pl.String) == "kernel").any() for part in parts):
        doubts.append("no kernel is in it (was it recorded with --trace=cuda?)")
    return Trace(
        path=database.path,
        format="nsys_sqlite",
        events=with_all_columns(_cleaned(events, doubts)),
        host=machine.host,
        origin_ns=machine.origin_ns,
        devices=machine.devices,
        versions=machine.versions,
        doubts=tuple(doubts),
    )


def _check_tables(database: Database) -> None:
    """Raise InputError that says what the file is when it holds no CUDA activity."""
    if any(name.startswith(_CUPTI) for name in database.tables):
        if "StringTable" in database.tables:
            raise InputError(
                f"{database.path} is nvprof's own database, not one of Nsight Systems.",
                "Print it with `nvprof -i FILE --print-gpu-trace --csv --log-file FILE.csv`.",
            )
        return
    if any(name.startswith("rocpd_") for name in database.tables):
        raise InputError(
            f"{database.path} is a database of rocprofv3 (rocpd).",
            "Convert it with `rocpd convert --output-format csv -i FILE.db`, or record with "
            "`rocprofv3 --output-format json`.",
        )
    known = "StringIds" in database.tables or "META_DATA_EXPORT" in database.tables
    what = "a trace of Nsight Systems without CUDA" if known else "no trace of Nsight Systems"
    raise InputError(
        f"{database.path} is {what}: it has no table {_CUPTI}KERNEL or the like.",
        "Record with `nsys profile --trace=cuda,nvtx`, then `nsys export --type sqlite`.",
    )


def _cleaned(events: pl.DataFrame, doubts: list[str]) -> pl.DataFrame:
    """`events` without negative durations, with collectives told from names."""
    if events.is_empty():
        return events
    names = meanings_of(events.filter(pl.col("kind") == "kernel")["name"])
    names = names.select("name", "collective", kind=pl.lit("kernel"))
    whole = not_negative(events, doubts)
    return whole.join(names, on=["kind", "name"], how="left", maintain_order="left")


_DEVICE_COLUMNS = ("start", "end", "deviceId", "streamId", "correlationId", "globalPid")
_KERNEL_NAMES = ("demangledName", "shortName", "mangledName", "name")
_GRID = ("gridX", "gridY", "gridZ")
_COPY_ENDS = ("srcDeviceId", "dstDeviceId")


def _kernels(rows: pl.DataFrame, database: Database, machine: Machine) -> pl.DataFrame:
    rows = database.with_text(rows, _KERNEL_NAMES, "name")
    events = _on_device(rows.with_columns(kind=pl.lit("kernel")), machine)
    blocks = pl.col("gridX").cast(pl.Float64) * pl.col("gridY") * pl.col("gridZ")
    processors = pl.col("device").replace_strict(
        machine.multiprocessors, default=None, return_dtype=pl.Float32
    )
    return events.with_columns(sm_share=(blocks / processors).clip(0, 1)).drop(*_GRID)


def _graphs(rows: pl.DataFrame, database: Database, machine: Machine) -> pl.DataFrame:
    """CUDA graphs that were recorded as one event each."""
    database.doubts.append(
        f"{rows.height} launches of CUDA graphs were recorded whole, so that their kernels "
        "are not known (record with --cuda-graph-trace=node)"
    )
    name = pl.format("[CUDA graph {}]", pl.col("graphId").fill_null(0)).cast(pl.Categorical)
    return _on_device(rows.with_columns(kind=pl.lit("kernel"), name=name), machine).drop("graphId")


def _copies(rows: pl.DataFrame, database: Database, machine: Machine) -> pl.DataFrame:
    kind = pl.col("copyKind").replace_strict(COPY_KINDS, default=None, return_dtype=pl.String)
    rows = rows.with_columns(kind=pl.lit("memcpy"), copy_kind=kind)
    name = pl.format("[CUDA memcpy {}]", pl.col("copy_kind").fill_null("of unknown kind"))
    events = _on_device(rows.with_columns(name=name.cast(pl.Categorical)), machine)
    between = pl.col("copy_kind") == "PtoP"
    for column, end in zip(("from_device", "to_device"), _COPY_ENDS, strict=True):
        events = machine.numbered(events, end, column)
        events = events.with_columns(pl.when(between).then(pl.col(column)).alias(column))
    return events.drop("copyKind", *_COPY_ENDS)


def _fills(rows: pl.DataFrame, database: Database, machine: Machine) -> pl.DataFrame:
    name = pl.lit("[CUDA memset]").cast(pl.Categorical)
    return _on_device(rows.with_columns(kind=pl.lit("memset"), name=name), machine)


def _waits(rows: pl.DataFrame, database: Database, machine: Machine) -> pl.DataFrame:
    name = pl.col("syncType").replace_strict(
        _SYNCHRONIZATIONS, default="Synchronize", return_dtype=pl.String
    )
    rows = rows.with_columns(
        kind=pl.lit("gpu_sync"),
        name=name.cast(pl.Categorical),
        streamId=pl.when(pl.col("streamId").is_between(0, _NO_STREAM - 1)).then("streamId"),
    )
    return _on_device(rows, machine).drop("syncType")


def _on_device(rows: pl.DataFrame, machine: Machine) -> pl.DataFrame:
    """`rows` of CUPTI with the columns of a trace, devices numbered as the machine does."""
    rows = rows.with_columns(
        start_ns=pl.col("start"),
        duration_ns=_duration_ns(),
        process=(pl.col("globalPid") // (1 << 24)) % (1 << 24),
    )
    rows = machine.numbered(rows, "deviceId", "device")
    rows = rows.rename({"streamId": "stream", "correlationId": "correlation"})
    return rows.drop("start", "end", "deviceId", "globalPid")


def _duration_ns() -> pl.Expr:
    """From start to end; null where the difference is more than 63 bits hold."""
    start, end = pl.col("start"), pl.col("end")
    far = (end.cast(pl.Float64) - start.cast(pl.Float64)).abs() > _MOST_NS
    return pl.when(~far).then(end - start)


def _calls(rows: pl.DataFrame, database: Database, machine: Machine) -> pl.DataFrame:
    """Calls of the CUDA runtime and driver on the host."""
    rows = database.with_text(rows, ("nameId",), "name").rename({"correlationId": "correlation"})
    return _on_host(rows, "runtime")


def _ranges(rows: pl.DataFrame, database: Database, machine: Machine) -> pl.DataFrame:
    """NVTX's ranges; marks are moments and left out."""
    if rows["eventType"].null_count() < rows.height:
        rows = rows.filter(pl.col("eventType").is_in(NVTX_RANGES))
    open_ranges = rows["end"].null_count()
    if open_ranges:
        database.doubts.append(f"{open_ranges} NVTX ranges without an end were left out")
        rows = rows.drop_nulls("end")
    rows = database.with_text(rows.rename({"text": "own_text"}), ("textId",), "name")
    name = pl.coalesce("own_text", pl.col("name").cast(pl.String)).fill_null("")
    rows = rows.with_columns(name=name.cast(pl.Categorical))
    return _on_host(rows.drop("own_text", "eventType"), "annotation")


def _on_host(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    return rows.with_columns(
        kind=pl.lit(kind),
        start_ns=pl.col("start"),
        duration_ns=_duration_ns(),
        device=pl.lit(HOST_DEVICE, dtype=pl.Int32),
        process=(pl.col("globalTid") // (1 << 24)) % (1 << 24),
        thread=pl.col("globalTid") % (1 << 24),
    ).drop("start", "end", "globalTid")


class _Reader(NamedTuple):
    """A table, its columns of numbers and of text, and what makes events of its rows."""

    tables: tuple[str, ...]  # the names that versions give it, of which a file has one
    numbers: tuple[str, ...]
    events: Callable[[pl.DataFrame, Database, Machine], pl.DataFrame]
    text: str = ""


_READERS = (
    _Reader(
        (f"{_CUPTI}KERNEL", f"{_CUPTI}CONCURRENT_KERNEL"),
        (*_DEVICE_COLUMNS, *_KERNEL_NAMES, *_GRID),
        _kernels,
    ),
    _Reader((f"{_CUPTI}GRAPH_TRACE",), (*_DEVICE_COLUMNS, "graphId"), _graphs),
    _Reader((f"{_CUPTI}MEMCPY",), (*_DEVICE_COLUMNS, "bytes", "copyKind", *_COPY_ENDS), _copies),
    _Reader((f"{_CUPTI}MEMSET",), (*_DEVICE_COLUMNS, "bytes"), _fills),
    _Reader((f"{_CUPTI}SYNCHRONIZATION",), (*_DEVICE_COLUMNS, "syncType"), _waits),
    _Reader(
        (f"{_CUPTI}RUNTIME",), ("start", "end", "correlationId", "globalTid", "nameId"), _calls
    ),
    _Reader(NVTX_TABLES, ("start", "end", "eventType", "textId", "globalTid"), _ranges, "text"),
)
