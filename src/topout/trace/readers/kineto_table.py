"""The columns of a scanned Kineto trace as the table that all analyses read."""

import re
from typing import NamedTuple

import polars as pl

from topout.trace.readers.kineto_collectives import canonical_collective
from topout.trace.readers.kineto_columns import Columns, TextColumn
from topout.trace.readers.kineto_fields import (
    HOST_DEVICE_TYPE,
    INSTANT_CATEGORY,
    MEMORY_NAME,
    MILLIONTHS,
    kind_of_category,
)
from topout.trace.readers.kineto_messages import with_messages
from topout.trace.readers.kineto_text import normalized_json
from topout.trace.table import HOST_DEVICE, KINDS, SCHEMA, CopyKind, with_all_columns

_ON_DEVICE = ("kernel", "memcpy", "memset", "gpu_annotation", "gpu_sync")
_COPY_NAME = re.compile(r"\b(HtoD|DtoH|DtoD|HtoH|PtoP)\b")
_LONG_COPY_NAME = re.compile(r"(Host|Device|Peer)To(Host|Device|Peer)")  # ROCm's CopyHostToDevice


class Table(NamedTuple):
    """All events, and what had to be mended in them."""

    events: pl.DataFrame
    negative_durations: int
    damaged_texts: int
    rank: int | None  # that a collective says it is on


def copy_kind_of(name: str) -> CopyKind | None:
    """The direction of a copy by its name: "Memcpy HtoD (Pinned -> Device)"."""
    kinds: dict[str, CopyKind] = {
        "HtoD": "HtoD",
        "DtoH": "DtoH",
        "DtoD": "DtoD",
        "HtoH": "HtoH",
        "PtoP": "PtoP",
    }
    if found := _COPY_NAME.search(name):
        return kinds[found[1]]
    long = _LONG_COPY_NAME.search(name)
    return kinds.get(f"{long[1][0]}to{long[2][0]}") if long else None


def table_of(columns: Columns, group_sizes: tuple[int, ...] = ()) -> Table:
    """The table of `topout.trace.table.SCHEMA`, in the order of time."""
    names = columns.text("name")
    decoded_names = columns.decoded(names)
    parts = [
        columns.numbers("start").alias("start_ns").set_sorted(),
        columns.numbers("duration").fill_null(0).alias("duration_ns"),
        names.spread("name", decoded_names, pl.Categorical),
        names.spread("copy_kind", [copy_kind_of(name) for name in decoded_names], pl.String),
        _kinds(columns, names, decoded_names),
        *_places(columns),
        *_sizes(columns),
        *_messages(columns),
        *_of_operators(columns),
        columns.numbers("occupancy", 100 * 10**MILLIONTHS),
        columns.numbers("blocks_per_sm", 10**MILLIONTHS),
    ]
    raw = pl.DataFrame(parts)
    rank = raw["rank"].drop_nulls()
    negative = int((raw["duration_ns"] < 0).sum())
    events = with_all_columns(with_messages(_meant(raw), group_sizes))
    return Table(events, negative, columns.damaged_texts, int(rank[0]) if len(rank) else None)


def _kinds(columns: Columns, names: TextColumn, decoded_names: list[str]) -> pl.Series:
    categories = columns.text("category")
    decoded = columns.decoded(categories)
    kinds = categories.spread("kind", [kind_of_category(each) for each in decoded], pl.String)
    instants = [each == INSTANT_CATEGORY for each in decoded]
    memory = [name == MEMORY_NAME for name in decoded_names]
    is_memory = _is_one_of(categories.codes, instants) & _is_one_of(names.codes, memory)
    kind = pl.when(is_memory).then(pl.lit("memory")).otherwise(kinds.fill_null("other"))
    return pl.select(kind.cast(pl.Enum(list(KINDS))).alias("kind")).to_series()


def _is_one_of(codes: pl.Series, which: list[bool]) -> pl.Series:
    numbers = [number for number, is_one in enumerate(which) if is_one]
    return codes.is_in(numbers).fill_null(value=False)


def _places(columns: Columns) -> list[pl.Series]:
    names = ("process", "thread", "device", "stream", "memory_device_type", "memory_device")
    return [columns.numbers(name) for name in (*names, "correlation", "external")]


def _sizes(columns: Columns) -> list[pl.Series]:
    names = ("copied_bytes", "changed_bytes", "allocated_bytes", "reserved_bytes")
    return [columns.numbers(name) for name in (*names, "from_device", "to_device")]


def _messages(columns: Columns) -> list[pl.Series]:
    collectives = columns.text("collective")
    canonical = [canonical_collective(name) for name in columns.decoded(collectives)]
    texts = [collectives.spread("collective", canonical, pl.Categorical)]
    for name in ("element_type", "group_name"):
        column = columns.text(name)
        texts.append(column.spread(name, columns.decoded(column), pl.Categorical))
    numbers = ("elements_in", "elements_out", "group_size", "rank")
    return [*texts, *(columns.numbers(name) for name in numbers)]


def _of_operators(columns: Columns) -> list[pl.Series]:
    shapes = [
        columns.text(name).spread_with(name, normalized_json, pl.String)
        for name in ("shapes", "element_types")
    ]
    return [*shapes, columns.numbers("flops"), columns.numbers("sequence")]


def _meant(raw: pl.DataFrame) -> pl.DataFrame:
    """What the fields mean, which depends on the kind of event."""
    kind = pl.col("kind")
    on_device = kind.is_in(_ON_DEVICE)
    is_copy, is_memory = kind == "memcpy", kind == "memory"
    of_memory = pl.when(pl.col("memory_device_type") != HOST_DEVICE_TYPE).then("memory_device")
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
        "duration_ns": pl.col("duration_ns").clip(lower_bound=0),
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
