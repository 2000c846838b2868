"""Traces in Chrome's format whose events have no category: the lanes they lie in say what they are.

JAX and XLA name a process "/device:GPU:0" and a thread in it "Stream #14(Compute)"; rocprof names
processes "GPU0" and "CPU HIP API"; PyTorch's profiler before Kineto wrote "CUDA functions" where
others have the number of a process.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from topout.kernels.trace_ops import Field
from topout.trace.readers.event_names import meanings_of
from topout.trace.readers.kineto_table import NANOSECONDS, Columns
from topout.trace.table import HOST_DEVICE, SCHEMA, TraceFormat, with_all_columns

LANE_FIELDS: tuple[Field, ...] = (
    Field("phase", ("ph",), False, "text"),
    Field("category", ("cat",), False, "text"),
    Field("start", ("ts",), False, "number", NANOSECONDS),
    Field("duration", ("dur",), False, "number", NANOSECONDS),
    Field("name", ("name",), False, "text"),
    Field("process", ("pid",), False, "text"),
    Field("thread", ("tid",), False, "text"),
    Field("label", ("name",), True, "text"),  # of a process or thread
    Field("begin_ns", ("BeginNs",), True, "number"),  # of rocprof, whose `ts` is in whole µs
    Field("took_ns", ("DurationNs",), True, "number"),
    Field("queue", ("queue-id",), True, "number"),
    Field("correlation", ("correlation_id",), True, "number"),
    Field("module", ("hlo_module",), True, "text"),
    Field("details", ("memcpy_details", "Memset_details"), True, "text"),
)
_NUMBERS = ("begin_ns", "took_ns", "queue", "correlation")
_XLA_DEVICE = re.compile(r"/device:(?!CPU)[A-Za-z_]+:(\d{1,4})\b")
_XLA_STREAM = re.compile(r"Stream #(\d{1,9})\b")
_XLA_OPERATORS = "XLA Ops"  # the line of a TPU that holds its work; a GPU has streams beside it
_XLA_FILE = re.compile(r"(.+)\.trace\.json(\.gz)?")  # named after the host
_XLA_MOST_EVENTS = 1_000_000
_ROCPROF_DEVICE = re.compile(r"GPU(\d{1,4})")
_ROCPROF_CALLS = ("CPU HIP API", "CPU HSA API", "CPU KFD API")
_ROCPROF_COPIES = "COPY"
_ROCPROF_MARKS = "Markers and Ranges"
_LEGACY_DEVICE = re.compile(r"(CUDA|NPU|XPU|HIP) functions")
_LEGACY_HOST = "CPU functions"
_CALL = re.compile(r"(cu|hip|nccl|rccl)[A-Z]")
_SIZE = re.compile(r"\bsize:\s*(\d{1,18})\b")

# What lies in a lane: work of a device, spans over such work, what the host did; of JAX the names
# of the events tell what the host did.
_Content = Literal["work", "span", "runtime", "annotation", "cpu_op", "host"]


class _Lane(NamedTuple):
    content: _Content
    device: int | None = HOST_DEVICE
    stream: int | None = None
    nests: bool = False  # what holds others inside it is no work of its own


class LaneTrace(NamedTuple):
    """What a file without categories holds."""

    format: TraceFormat
    events: pl.DataFrame  # with all columns of the table
    doubts: tuple[str, ...]
    host: str | None = None
    empty_entries: int = 0  # that the maker writes behind the last event
    negative_durations: int = 0  # which were taken as 0
    holds_copies: bool = True


class _Labels(NamedTuple):
    """The names that a file gives to its processes, and to their threads."""

    processes: Mapping[str, str]
    threads: Mapping[tuple[str, str], str]


def read_lanes(columns: Columns, path: Path) -> LaneTrace | None:
    """The trace in the columns of LANE_FIELDS, names among the rows; None of an unknown maker."""
    raw = _raw(columns)
    is_name = pl.col("phase") == "M"
    labels = _labels(raw.filter(is_name))
    took = pl.coalesce("took_ns", "duration_ns")
    events = raw.filter(~is_name).with_columns(took.alias("duration_ns"))
    negative = int((events["duration_ns"] < 0).sum())
    events = events.with_columns(pl.col("duration_ns").clip(lower_bound=0))
    for maker in (_jax, _rocprof, _legacy):
        if found := maker(events, labels, path):
            return found._replace(negative_durations=negative)
    return None


def _raw(columns: Columns) -> pl.DataFrame:
    def size(text: str) -> str | None:
        found = _SIZE.search(text)
        return found[1] if found else None

    texts = ("phase", "process", "thread", "label")
    return pl.DataFrame(
        [
            columns.numbers("start").alias("start_ns"),
            columns.numbers("duration").alias("duration_ns"),
            columns.text("name").spread("name", str, pl.Categorical),
            *(columns.text(name).spread(name, str) for name in texts),
            columns.text("module").spread("module", str, pl.Categorical),
            columns.text("details").spread("bytes", size, pl.Int64),
            *(columns.numbers(name) for name in _NUMBERS),
        ]
    ).with_columns(pl.col("process", "thread").fill_null(""))


def _labels(names: pl.DataFrame) -> _Labels:
    rows = names.drop_nulls("label").select(
        pl.col("name").cast(pl.String), "process", "thread", "label"
    )
    processes, threads = {}, {}
    for what, process, thread, label in rows.iter_rows():
        if what == "process_name":
            processes[process] = label
        elif what == "thread_name":
            threads[process, thread] = label
    return _Labels(processes, threads)


def _placed(events: pl.DataFrame, lane_of: Callable[[str, str], _Lane]) -> pl.DataFrame:
    """`events` with what their lane says; lanes are few, however many events lie in them."""
    pairs = events.select("process", "thread").unique(maintain_order=True)
    lanes = [lane_of(process, thread) for process, thread in pairs.iter_rows()]
    known = pairs.with_columns(
        pl.Series("content", [lane.content for lane in lanes], pl.String),
        pl.Series("device", [lane.device for lane in lanes], pl.Int32),
        pl.Series("stream", [lane.stream for lane in lanes], pl.Int64),
        pl.Series("nests", [lane.nests for lane in lanes], pl.Boolean),
    )
    placed = events.join(known, on=["process", "thread"], how="left", maintain_order="left")
    is_outer = pl.col("nests") & _holds_others()
    content = pl.when(is_outer).then(pl.lit("span")).otherwise("content")
    return placed.with_columns(content.alias("content"))


def _holds_others() -> pl.Expr:
    """Whether the next event of the lane lies inside this one; of equal ones the last is inside."""
    start, end = pl.col("start_ns"), pl.col("start_ns") + pl.col("duration_ns")
    order = [start, -pl.col("duration_ns")]
    next_start, next_end = start.shift(-1), end.shift(-1)
    lane = ["process", "thread"]
    inside = ((next_start < end) & (next_end <= end)).fill_null(value=False)
    return inside.over(lane, order_by=order)


def _table(placed: pl.DataFrame) -> pl.DataFrame:
    """The table of all columns; `content` becomes the kind, by the name where it is work."""
    meanings = meanings_of(placed["name"])
    on_device = pl.col("content").is_in(["work", "span"])
    is_work = pl.col("content") == "work"
    name = pl.col("name").cast(pl.String)
    of_host = (
        pl.when(pl.col("module").is_not_null())
        .then(pl.lit("cpu_op"))
        .when(name.str.starts_with("$"))
        .then(pl.lit("python"))
        .when(name.str.contains(f"^{_CALL.pattern}"))
        .then(pl.lit("runtime"))
        .otherwise(pl.lit("annotation"))
    )
    kind = (
        pl.when(is_work)
        .then("work")
        .when(pl.col("content") == "span")
        .then(pl.lit("gpu_annotation"))
        .when(pl.col("content") == "host")
        .then(of_host)
        .otherwise("content")
    )
    numbered = {lane: pl.col(lane).cast(pl.Int64, strict=False) for lane in ("process", "thread")}
    joined = placed.join(meanings, on="name", how="left", maintain_order="left", nulls_equal=True)
    found = joined.with_columns(
        kind=kind,
        device=pl.when(on_device).then("device").otherwise(HOST_DEVICE),
        stream=pl.when(on_device).then(pl.coalesce("stream", numbered["thread"])),
        process=pl.when(~on_device).then(numbered["process"]),
        thread=pl.when(~on_device).then(numbered["thread"]),
        copy_kind=pl.when(is_work & (pl.col("work") == "memcpy")).then("copy_kind"),
        collective=pl.when(is_work).then("collective"),
        bytes=pl.when(is_work).then("bytes"),
    )
    return with_all_columns(found.select(name for name in SCHEMA if name in found.columns))


def _jax(events: pl.DataFrame, labels: _Labels, path: Path) -> LaneTrace | None:
    """Of the JAX or TensorFlow profiler: planes are processes, lines are threads."""
    if not any(label.startswith(("/device:", "/host:")) for label in labels.processes.values()):
        return None
    with_streams = {
        process for (process, _), label in labels.threads.items() if _XLA_STREAM.match(label)
    }

    def lane(process: str, thread: str) -> _Lane:
        device = _XLA_DEVICE.match(labels.processes.get(process, ""))
        if device is None:
            return _Lane("host")
        number, label = int(device[1]), labels.threads.get((process, thread), "")
        if process in with_streams:
            # Lines beside the streams are derived from them: modules, operators, scopes.
            stream = _XLA_STREAM.match(label)
            return _Lane("work", number, int(stream[1])) if stream else _Lane("span", number)
        is_work = label in ("", _XLA_OPERATORS)
        return _Lane("work" if is_work else "span", number, nests=is_work)

    named = _XLA_FILE.fullmatch(path.name)
    doubts: tuple[str, ...] = ()
    if events.height >= _XLA_MOST_EVENTS:
        doubts = (
            "It holds a million events, the most that its exporter keeps: what came after them is "
            "missing (profile fewer steps).",
        )
    table = _table(_placed(events, lane))
    return LaneTrace("jax_json", table, doubts, named[1] if named else None, empty_entries=1)


def _rocprof(events: pl.DataFrame, labels: _Labels, path: Path) -> LaneTrace | None:
    """Of rocprof, versions 1 and 2."""
    devices = {
        process: int(found[1])
        for process, label in labels.processes.items()
        if (found := _ROCPROF_DEVICE.fullmatch(label))
    }
    others = (*_ROCPROF_CALLS, _ROCPROF_COPIES, _ROCPROF_MARKS)
    if not devices and not any(label in others for label in labels.processes.values()):
        return None
    only = next(iter(devices.values())) if len(devices) == 1 else None

    def lane(process: str, thread: str) -> _Lane:
        label = labels.processes.get(process, "")
        if process in devices:
            return _Lane("work", devices[process])
        if label == _ROCPROF_COPIES:
            return _Lane("work", only)
        return _Lane("runtime" if label in _ROCPROF_CALLS else "annotation")

    begin = "start_ns" if events["begin_ns"].null_count() else "begin_ns"
    exact = events.with_columns(start_ns=pl.col(begin))
    placed = _placed(exact, lane).with_columns(pl.coalesce("stream", "queue").alias("stream"))
    return LaneTrace("rocprof_json", _table(placed), ())


def _legacy(events: pl.DataFrame, labels: _Labels, path: Path) -> LaneTrace | None:
    """Of PyTorch's profiler before Kineto: events timed operators on the device, one in another."""
    processes = events["process"].unique().to_list()
    of_device = {process for process in processes if _LEGACY_DEVICE.fullmatch(process)}
    if not of_device and _LEGACY_HOST not in processes:
        return None

    def lane(process: str, thread: str) -> _Lane:
        if process in of_device:
            device = int(thread) if re.fullmatch("[0-9]{1,4}", thread) else 0
            return _Lane("work", device, 0, nests=True)
        return _Lane("cpu_op" if process == _LEGACY_HOST else "annotation")

    doubts: tuple[str, ...] = ()
    if of_device:
        doubts = (
            "The profiler before Kineto timed operators on the device, not kernels: what an "
            "operator took includes pauses between its kernels (record with torch.profiler).",
        )
    table = _table(_placed(events, lane))
    return LaneTrace("pytorch_legacy_json", table, doubts, holds_copies=False)
