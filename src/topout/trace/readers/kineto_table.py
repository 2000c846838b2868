"""The columns of a scanned Kineto trace as the table that all analyses read.

What of an event is read, and under which names older and newer profilers wrote it, is in FIELDS.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from topout import units
from topout.kernels.trace_ops import Field, NativeScan
from topout.trace.readers.event_names import canonical_collective, copy_kind, with_messages
from topout.trace.readers.file_text import decode, normalized_json
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.table import HOST_DEVICE, SCHEMA, EventKind, with_all_columns

Scan = NativeScan | PythonScan
NANOSECONDS = 3  # the file counts in microseconds
MILLIONTHS = 6

FIELDS: tuple[Field, ...] = (
    Field("phase", ("ph",), False, "text"),
    Field("category", ("cat",), False, "text"),
    Field("start", ("ts",), False, "number", NANOSECONDS),
    Field("duration", ("dur",), False, "number", NANOSECONDS),
    Field("name", ("name",), False, "text"),
    Field("process", ("pid",), False, "lane"),
    Field("thread", ("tid",), False, "lane"),
    Field("external", ("External id", "external id", "External Id"), True, "number"),
    Field("correlation", ("correlation",), True, "number"),
    Field("graph", ("graph id",), True, "number"),
    Field("graph_node", ("graph node id",), True, "number"),
    Field("device", ("device",), True, "number"),
    Field("stream", ("stream",), True, "lane"),
    Field("copied_bytes", ("bytes",), True, "number"),
    Field("from_device", ("fromDevice",), True, "number"),
    Field("to_device", ("toDevice",), True, "number"),
    Field("occupancy", ("est. achieved occupancy %",), True, "number", MILLIONTHS),
    Field("blocks_per_sm", ("blocks per SM",), True, "number", MILLIONTHS),
    Field("collective", ("Collective name",), True, "text"),
    Field("elements_in", ("In msg nelems",), True, "number"),
    Field("elements_out", ("Out msg nelems",), True, "number"),
    Field("element_type", ("dtype",), True, "text"),
    Field("group_size", ("Group size",), True, "number"),
    Field("group_name", ("Process Group Name",), True, "text"),
    Field("rank", ("Rank",), True, "number"),
    Field("shapes", ("Input Dims", "Input dims"), True, "json"),
    Field("element_types", ("Input type", "Input Type"), True, "json"),
    Field("flops", ("flops", "Flops", "FLOPs"), True, "number"),
    Field("sequence", ("Sequence number", "Sequence Number"), True, "number"),
    Field("changed_bytes", ("Bytes",), True, "number"),
    Field("allocated_bytes", ("Total Allocated",), True, "number"),
    Field("reserved_bytes", ("Total Reserved",), True, "number"),
    Field("memory_device_type", ("Device Type",), True, "number"),
    Field("memory_device", ("Device Id",), True, "number"),
)
_WHOLE_NUMBERS = tuple(
    field.name for field in FIELDS if field.form in ("number", "lane") and not field.shift
)
# By the category in lower case: the profiler of PyTorch 1.8 wrote "Kernel" and "Operator".
_KINDS: dict[str, EventKind] = {
    "kernel": "kernel",
    "concurrent_kernel": "kernel",
    "gpu_memcpy": "memcpy",
    "memcpy": "memcpy",
    "gpu_memset": "memset",
    "memset": "memset",
    "gpu_user_annotation": "gpu_annotation",
    "hpu_op": "kernel",  # Gaudi
    "mtia_ccp_events": "kernel",  # MTIA
    "mlu_memcpy": "memcpy",  # Cambricon
    "mlu_memset": "memset",
    "mlu_user_annotation": "gpu_annotation",
    "gcu_memcpy": "memcpy",  # Enflame
    "gcu_memset": "memset",
    "gcu_user_annotation": "gpu_annotation",
    "cuda_sync": "gpu_sync",
    "xpu_sync": "gpu_sync",
    "cpu_op": "cpu_op",
    "operator": "cpu_op",
    "runtime": "runtime",
    "cuda_runtime": "runtime",
    "cuda_driver": "runtime",
    "hip_runtime": "runtime",
    "hip_driver": "runtime",
    "xpu_runtime": "runtime",
    "xpu_driver": "runtime",
    "privateuse1_runtime": "runtime",
    "privateuse1_driver": "runtime",
    "mtia_runtime": "runtime",
    "mlu_runtime": "runtime",
    "gcu_runtime": "runtime",
    "gcu_driver": "runtime",
    "glow_runtime": "runtime",
    "user_annotation": "annotation",
    "python_function": "python",
}
# What profilers of PyTorch write beside work: marks, their own cost, spans of the whole recording.
_NO_WORK = frozenset(
    {"trace", "overhead", "cpu_instant_event", "external_correlation", "cuda_event",
     "cuda_profiler_range", "collective_comm", "xpu_scope_profiler", "mtia_counters",
     "instant", "none", ""}
)  # fmt: skip
_MOST_CATEGORIES = 5
_HOST_DEVICE_TYPE = 0  # of "Device Type": PyTorch's number for the CPU
_MOMENTS = ("memory", "other")
_ON_DEVICE = ("kernel", "memcpy", "memset", "gpu_annotation", "gpu_sync")


class Columns:
    """The columns of a finished scan; each can be taken once.

    `damaged_texts` counts the strings taken so far that were not whole UTF-8.
    """

    def __init__(self, scan: Scan) -> None:
        self.rows = scan.rows
        self.damaged_texts = 0
        self._scan = scan
        self._strings = scan.strings()

    def numbers(self, name: str, scale: float | None = None) -> pl.Series:
        """Whole numbers; or divided by `scale`. Null where an event has none."""
        column = self._scan.take(name)
        if column is None:
            return pl.Series(name, [None], pl.Int64).new_from_index(0, self.rows)
        values = pl.Series(name, column.values)
        if scale is not None:
            values = (values / scale).cast(pl.Float32)
        if column.present.all():
            return values
        present = pl.Series(column.present)
        return pl.select(pl.when(present).then(values).alias(name)).to_series()

    def text(self, name: str) -> "TextColumn":
        """A column of text, of which each distinct one is decoded once."""
        raw, codes = self._distinct(name)
        found = [decode(each) for each in raw]
        self.damaged_texts += sum(not each.intact for each in found)
        return TextColumn([each.text for each in found], codes)

    def json(self, name: str) -> pl.Series:
        """A column of JSON, written in one way; null where it is none."""
        raw, codes = self._distinct(name)
        return _spread(name, [normalized_json(each) for each in raw], codes, pl.String)

    def _distinct(self, name: str) -> tuple[list[bytes], pl.Series]:
        """The distinct strings of a column, and which of them each row has, null for none."""
        column = self._scan.take(name)
        if column is None:
            return [], pl.Series([None], dtype=pl.UInt32).new_from_index(0, self.rows)
        used = np.zeros(len(self._strings), np.bool_)
        used[column.values[column.present]] = True
        number = np.cumsum(used, dtype=np.uint32) - used  # among those that are used
        codes = pl.Series(number[column.values].astype(np.uint32))
        if not column.present.all():
            present = pl.Series(column.present)
            codes = pl.select(pl.when(present).then(codes)).to_series()
        return [self._strings[at] for at in np.flatnonzero(used)], codes


class TextColumn:
    """Text as the numbers of distinct strings; null where an event has none."""

    def __init__(self, texts: Sequence[str], codes: pl.Series) -> None:
        self.texts = texts
        self._codes = codes

    def is_one(self, text: str) -> pl.Series:
        """Where the column says this."""
        numbers = [number for number, each in enumerate(self.texts) if each == text]
        return self._codes.is_in(numbers).fill_null(value=False)

    def spread(
        self,
        name: str,
        meaning: Callable[[str], str | None],
        dtype: pl.DataType | type[pl.DataType] = pl.String,
    ) -> pl.Series:
        """What `meaning` makes of each distinct text, row by row."""
        return _spread(name, [meaning(text) for text in self.texts], self._codes, dtype)


def _spread(
    name: str,
    meanings: Sequence[str | None],
    codes: pl.Series,
    dtype: pl.DataType | type[pl.DataType],
) -> pl.Series:
    if not meanings:
        return pl.Series(name, [None], dtype).new_from_index(0, len(codes))
    return pl.Series(name, meanings, pl.String).cast(dtype).gather(codes).alias(name)


class Table(NamedTuple):
    """All events, and what had to be mended in them."""

    events: pl.DataFrame
    uncounted: list[str]  # categories that are not known, in words
    negative_durations: int
    damaged_texts: int
    rank: int | None  # that a collective says it is on


def table_of(columns: Columns, group_sizes: tuple[int, ...] = ()) -> Table:
    """The table of `topout.trace.table.SCHEMA`, in the order of time."""
    durations, categories = columns.numbers("duration"), columns.text("category")
    raw = pl.DataFrame(
        [
            columns.numbers("start").alias("start_ns").set_sorted(),
            durations.alias("duration_ns"),
            *_names_and_kinds(columns, categories),
            *_messages(columns),
            columns.json("shapes"),
            columns.json("element_types"),
            *(columns.numbers(name) for name in _WHOLE_NUMBERS),
            columns.numbers("occupancy", 100 * 10**MILLIONTHS),
            columns.numbers("blocks_per_sm", 10**MILLIONTHS),
        ]
    )
    rank = raw["rank"].drop_nulls()
    negative = int((raw["duration_ns"] < 0).sum())
    return Table(
        with_all_columns(with_messages(_meant(raw), group_sizes)),
        _uncounted(categories, durations),
        negative,
        columns.damaged_texts,
        int(rank[0]) if len(rank) else None,
    )


def _uncounted(categories: TextColumn, durations: pl.Series) -> list[str]:
    """The categories that no figure counts, since nothing is known of them, with their time."""
    known = _KINDS.keys() | _NO_WORK
    unknown = {text for text in categories.texts if text.lower() not in known}
    if not unknown:
        return []
    named = categories.spread("category", lambda text: text if text in unknown else None)
    sums = (
        pl.DataFrame([named, durations.cast(pl.Float64).alias("ns")])
        .drop_nulls("category")
        .group_by("category")
        .agg(pl.len().alias("events"), pl.col("ns").sum())
        .sort(-pl.col("ns"), "category")
    )
    listed = ", ".join(
        f"{name[:60]!r} ({units.counted(events, 'event')}, {units.seconds(ns / 1e9)})"
        for name, events, ns in sums.head(_MOST_CATEGORIES).iter_rows()
    )
    rest = sums.height - _MOST_CATEGORIES
    more = f" and {rest} more" if rest > 0 else ""
    return [f"Of categories that are not known, counted in no figure: {listed}{more}."]


def _names_and_kinds(columns: Columns, categories: TextColumn) -> list[pl.Series]:
    """The name, and what it and the category say: the kind of event, the direction of a copy."""
    names = columns.text("name")
    is_memory = names.is_one("[memory]") & categories.is_one("cpu_instant_event")
    kinds = categories.spread("kind", lambda text: _KINDS.get(text.lower(), "other"))
    kind = pl.when(is_memory).then(pl.lit("memory")).otherwise(kinds.fill_null("other"))
    return [
        names.spread("name", str, pl.Categorical),
        names.spread("copy_kind", copy_kind),
        pl.select(kind.cast(SCHEMA["kind"]).alias("kind")).to_series(),
    ]


def _messages(columns: Columns) -> list[pl.Series]:
    return [
        columns.text("collective").spread("collective", canonical_collective, pl.Categorical),
        *(
            columns.text(name).spread(name, str, pl.Categorical)
            for name in ("element_type", "group_name")
        ),
    ]


def _meant(raw: pl.DataFrame) -> pl.DataFrame:
    """What the fields mean, which depends on the kind of event."""
    kind = pl.col("kind")
    on_device = kind.is_in(_ON_DEVICE)
    is_copy, is_memory = kind == "memcpy", kind == "memory"
    of_memory = pl.when(pl.col("memory_device_type") != _HOST_DEVICE_TYPE).then("memory_device")
    device = (
        # Where an event does not say its device and stream, its lane in the picture does.
        pl.when(on_device)
        .then(pl.coalesce("device", "process"))
        .when(is_memory)
        .then(of_memory.otherwise(HOST_DEVICE))
        .otherwise(HOST_DEVICE)
    )
    size = pl.when(is_memory).then("changed_bytes").when(on_device).then("copied_bytes")
    columns = {
        # What is a moment has none; where others have none, it could not be read.
        "duration_ns": pl.when(kind.is_in(_MOMENTS))
        .then(pl.col("duration_ns").fill_null(0))
        .otherwise("duration_ns")
        .clip(lower_bound=0),
        "device": device.cast(pl.Int32, strict=False),
        "stream": pl.when(on_device).then(pl.coalesce("stream", "thread")),
        "process": pl.when(~on_device).then("process"),
        "thread": pl.when(~on_device).then("thread"),
        "bytes": size,
        "copy_kind": pl.when(is_copy).then("copy_kind").cast(SCHEMA["copy_kind"]),
        "from_device": pl.when(is_copy).then("from_device").cast(pl.Int32, strict=False),
        "to_device": pl.when(is_copy).then("to_device").cast(pl.Int32, strict=False),
        "group_size": pl.col("group_size").cast(pl.Int32, strict=False),
        "allocated_bytes": pl.when(is_memory).then("allocated_bytes"),
        "reserved_bytes": pl.when(is_memory).then("reserved_bytes"),
        "sm_share": pl.col("blocks_per_sm").clip(upper_bound=1.0),
    }
    gone = ["memory_device_type", "memory_device", "copied_bytes", "changed_bytes"]
    return raw.with_columns(**columns).drop(*gone, "blocks_per_sm", "rank")
