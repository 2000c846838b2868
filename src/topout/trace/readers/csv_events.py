"""Rows of a profiler's CSV → the events of a trace."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from topout.errors import InputError
from topout.progress import Notify
from topout.trace.readers.csv_blocks import LineBlocks
from topout.trace.readers.csv_summary import SUMMARY_DOUBTS, summary_rows
from topout.trace.readers.csv_table import Layout, Tables
from topout.trace.readers.event_names import collective, copy_kind, work_kind
from topout.trace.table import HOST_DEVICE, Device, Trace, TraceFormat, with_all_columns

_NUMBERED = re.compile(r"(?P<name>.*?)\s*\((?P<number>\d+)\)\s*")
# Where the columns that both tools name differently are found.
_SIZE = ("size", "bytes")
_STREAM = ("stream", "strm")
_CORRELATION = ("correlation_id", "corrid", "correlation")
_GUESSED_NS = 1e3  # of durations without a unit: microseconds, nvprof's most frequent


@dataclass(frozen=True)
class Dialect:
    """What differs between the tools that write such tables."""

    format: TraceFormat
    tool: str
    size_base: int  # what a kilo is: 1024 or 1000
    remedy: str  # how to record what can be read


@dataclass
class _Found:
    """What was read so far."""

    parts: list[pl.DataFrame] = field(default_factory=list)
    summaries: list[pl.DataFrame] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    unreadable: int = 0


def read_csv(path: Path, dialect: Dialect, notify: Notify | None = None) -> Trace:
    """The trace in a CSV file of nvprof or Nsight Systems, gzip or not.

    Raises InputError for a file that is empty, cannot be read, or holds no table of events.
    """
    tables = Tables(LineBlocks(path, notify))
    found = _Found()
    for layout, rows in tables:
        if not found.layouts or layout is not found.layouts[-1]:
            found.layouts.append(layout)
            used = _with_units(layout, found.doubts) if layout.contents == "trace" else layout
        if layout.contents == "trace":
            part = _times_and_names(rows, used, dialect)
            found.unreadable += _unreadable(rows, part)
            found.parts.append(part)
        else:
            found.summaries.append(summary_rows(rows, layout))
    found.doubts.extend(tables.damage)
    if found.unreadable:
        found.doubts.append(f"{found.unreadable} rows without a start and a duration were left out")
    if not found.layouts:
        raise _no_table(path, dialect)
    return _trace(path, dialect, found)


def _trace(path: Path, dialect: Dialect, found: _Found) -> Trace:
    doubts = found.doubts + _doubts_about(found.layouts)
    if found.parts:
        events, devices = _completed(pl.concat(found.parts), doubts, dialect)
    else:
        events, devices = pl.concat(found.summaries), ()
        doubts.extend(SUMMARY_DOUBTS)
    if events.is_empty():
        doubts.append("the file has a header and no events under it")
    elif devices == () and found.parts:
        doubts.append("no kernel, copy or fill is in it: only calls of the host")
    return Trace(
        path=path,
        format=dialect.format,
        events=with_all_columns(events),
        devices=devices,
        timed=bool(found.parts),
        doubts=tuple(dict.fromkeys(doubts)),
    )


def _no_table(path: Path, dialect: Dialect) -> InputError:
    try:
        head = next(iter(LineBlocks(path)), b"")[: 1 << 20]
    except InputError as error:
        return error
    if not head.strip():
        return InputError(f"{path} is empty.", dialect.remedy)
    if b"GPU activities:" in head or b"Profiling result:" in head or b" ---" in head:
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


def _with_units(layout: Layout, doubts: list[str]) -> Layout:
    """`layout` with units of its times, guessed where the file does not say them."""
    if layout.nanoseconds("start") and layout.nanoseconds("duration"):
        return layout
    unit = _guessed_start_unit(layout)
    doubts.append(
        f"the file does not say its units: durations were taken as us and starts as {unit}, in "
        "which the work of one stream does not overlap; sizes are not known"
    )
    return replace(layout, units={**layout.units, "start": unit, "duration": "us"})


def _guessed_start_unit(layout: Layout) -> str:
    """The smallest unit of starts in which the sampled work of one stream does not overlap."""
    frame = pl.DataFrame(
        [row[: len(layout.columns)] for row in layout.sample if len(row) >= len(layout.columns)],
        schema=dict.fromkeys(layout.columns, pl.String()),
        orient="row",
    )
    keys = [name for name in ("device", "stream", "strm") if name in layout.columns]
    times = frame.select(
        *keys,
        start=layout.number("start"),
        duration=layout.number("duration") * _GUESSED_NS,
    ).sort("start")
    step = pl.col("start").diff().shift(-1)
    for unit, scale in (("us", 1e3), ("ms", 1e6)):
        early = (step.over(keys) if keys else step) * scale < pl.col("duration")
        if not times.select(early.any()).item():
            return unit
    return "s"


def _column(layout: Layout, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in layout.columns), None)


def _times_and_names(rows: pl.DataFrame, layout: Layout, dialect: Dialect) -> pl.DataFrame:
    """The rows that have times, in few bytes each; texts become categories here, block by block."""
    # Older versions of nvprof end a name with the correlation of its launch: "name [2143]".
    name = pl.col("name").str.strip_chars()
    columns = {
        "start_ns": layout.whole("start", layout.nanoseconds("start") or 1.0),
        "duration_ns": layout.whole("duration", layout.nanoseconds("duration") or 1.0),
        "name": name.str.replace(r"\s\[\d+\]$", "").cast(pl.Categorical),
        "bytes": pl.lit(None, dtype=pl.Int64),
        "process": pl.lit(layout.process, dtype=pl.Int64),
        "thread": pl.lit(None, dtype=pl.Int64),
        "correlation": name.str.extract(r"\s\[(\d+)\]$").cast(pl.Int64, strict=False),
        "stream": pl.lit(None, dtype=pl.Int64),
    }
    size = _column(layout, _SIZE)
    if size and (scale := layout.size_bytes(size, dialect.size_base)):
        columns["bytes"] = layout.whole(size, scale)
    for key, names in {
        "stream": _STREAM,
        "correlation": _CORRELATION,
        "process": ("pid",),
        "thread": ("tid",),
    }.items():
        if column := _column(layout, names):
            columns[key] = pl.col(column).cast(pl.Int64, strict=False)
    for key, column in {"device": "device", "source": "src dev", "target": "dst dev"}.items():
        text = pl.col(column) if column in layout.columns else pl.lit(None, dtype=pl.String)
        columns[key] = text.cast(pl.Categorical)
    part = rows.select(**columns)
    return part.drop_nulls(["start_ns", "duration_ns", "name"])


def _unreadable(rows: pl.DataFrame, part: pl.DataFrame) -> int:
    """Rows of several fields that were left out; a banner is one field."""
    fields = pl.sum_horizontal(pl.all().is_not_null())
    several = int(rows.select((fields > 1).sum()).item()) if rows.height else 0
    return max(several - part.height, 0)


def _completed(
    events: pl.DataFrame, doubts: list[str], dialect: Dialect
) -> tuple[pl.DataFrame, tuple[Device, ...]]:
    """`events` with kinds, numbers of devices and what names tell; and the devices."""
    negative = int((events["duration_ns"] < 0).sum())
    if negative:
        doubts.append(f"{negative} negative durations were taken as 0")
    numbers, devices = _devices(events, doubts)
    names = pl.DataFrame({"name": events["name"].unique()}).with_columns(
        work=work_kind(pl.col("name")),
        copy_kind=copy_kind(pl.col("name")),
        collective=collective(pl.col("name")),
    )
    on_device = pl.col("device").is_not_null()
    number = pl.col("device").replace_strict(numbers, default=None, return_dtype=pl.Int32)
    between = pl.col("copy_kind") == "PtoP"
    completed = events.join(names, on="name", how="left", maintain_order="left").with_columns(
        duration_ns=pl.col("duration_ns").clip(lower_bound=0),
        kind=pl.when(on_device).then(pl.col("work")).otherwise(pl.lit("runtime")),
        device=number.fill_null(HOST_DEVICE),
        copy_kind=pl.when(on_device).then(pl.col("copy_kind")),
        from_device=pl.when(between).then(_number_of("source", numbers)),
        to_device=pl.when(between).then(_number_of("target", numbers)),
    )
    _doubt_copies(completed, doubts, dialect)
    return completed.drop("work", "source", "target"), devices


def _number_of(column: str, numbers: dict[str, int]) -> pl.Expr:
    return pl.col(column).replace_strict(numbers, default=None, return_dtype=pl.Int32)


def _doubt_copies(events: pl.DataFrame, doubts: list[str], dialect: Dialect) -> None:
    copies = events.filter(pl.col("kind").cast(pl.String) == "memcpy")
    unnamed = copies.filter((pl.col("copy_kind") == "PtoP") & pl.col("from_device").is_null())
    if unnamed.height:
        doubts.append(
            f"{unnamed.height} copies between devices do not say between which"
            + (" (the SQLite export does)" if dialect.format == "nsys_csv" else "")
        )
    if copies.height and copies["bytes"].null_count() == copies.height:
        doubts.append("the sizes of copies are not in the file")


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
