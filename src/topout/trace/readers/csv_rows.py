"""Rows of a profiler's table of events → times, names, sizes and where each ran."""

from dataclasses import replace

import polars as pl

from topout.trace.readers.csv_table import Layout

_PAGE_FAULT = "(?i)page fault"
_GUESSED_NS = 1e3  # of durations without a unit: microseconds, nvprof's most frequent


def with_units(layout: Layout, doubts: list[str]) -> Layout:
    """`layout` with units of its times, guessed where the file does not say them."""
    if layout.nanoseconds("start") and layout.nanoseconds(layout.find("duration", "end") or ""):
        return layout
    if "duration" not in layout.columns:
        doubts.append("the file does not say its units: starts and ends were taken as ns")
        return replace(layout, units={**layout.units, "start": "ns", "end": "ns"})
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


def times_and_names(rows: pl.DataFrame, layout: Layout, kilo: int) -> pl.DataFrame:
    """The rows that have times, in few bytes each; texts become categories here, block by block."""
    # Older versions of nvprof end a name with the correlation of its launch: "name [2143]".
    name = pl.col("name").str.strip_chars()
    in_name = name.str.extract(r"\s\[(\d+)\]$").cast(pl.Int64, strict=False)
    part = rows.select(
        start_ns=layout.whole("start", layout.nanoseconds("start") or 1.0),
        duration_ns=_duration_ns(layout),
        name=name.str.replace(r"\s\[\d+\]$", "").cast(pl.Categorical),
        bytes=_bytes(layout, kilo),
        process=_integers(layout, ("pid",), pl.lit(layout.process, dtype=pl.Int64)),
        thread=_integers(layout, ("tid",)),
        correlation=_integers(layout, ("correlation_id", "corrid", "correlation"), in_name),
        stream=_integers(layout, ("queue", "stream", "strm")),
        device=_device(layout),
        domain=_category(layout, "domain"),
        source=_category(layout, "src dev"),
        target=_category(layout, "dst dev"),
    )
    return part.drop_nulls(["start_ns", "duration_ns", "name"])


def _duration_ns(layout: Layout) -> pl.Expr:
    """To the end, where no duration is given; a page fault of the host is a moment."""
    if "duration" in layout.columns:
        took = layout.whole("duration", layout.nanoseconds("duration") or 1.0)
    else:
        ends = layout.whole("end", layout.nanoseconds("end") or 1.0)
        took = ends - layout.whole("start", layout.nanoseconds("start") or 1.0)
    is_moment = pl.col("name").str.contains(_PAGE_FAULT)
    return pl.when(took.is_null() & is_moment).then(0).otherwise(took)


def _device(layout: Layout) -> pl.Expr:
    """Where it ran; a copy of which only the ends are given, at the one that is no host."""
    if layout.find("device") or not layout.find("dst dev"):
        return _category(layout, "device")
    is_down = pl.col("name").str.contains("(?i)host_to_device")
    return pl.when(is_down).then("dst dev").otherwise("src dev").cast(pl.Categorical)


def _bytes(layout: Layout, kilo: int) -> pl.Expr:
    """Of a copy or fill; of pages that unified memory moved they stand in a column of their own."""
    sizes = [pl.lit(None, dtype=pl.Int64)]
    column = layout.find("size", "bytes")
    if column and (scale := layout.size_bytes(column, kilo)):
        sizes.insert(0, layout.whole(column, scale))
    if column := layout.find("unified memory"):  # of faults it holds their number or place
        moved = layout.whole(column, layout.size_bytes(column, kilo) or 1.0)
        sizes.insert(0, pl.when(pl.col("name").str.contains("(?i)memcpy")).then(moved))
    return pl.coalesce(sizes)


def _integers(layout: Layout, names: tuple[str, ...], other: pl.Expr | None = None) -> pl.Expr:
    """The first of these columns that is there, else `other`, else nulls."""
    if column := layout.find(*names):
        return pl.col(column).cast(pl.Int64, strict=False)
    return pl.lit(None, dtype=pl.Int64) if other is None else other


def _category(layout: Layout, name: str) -> pl.Expr:
    text = pl.col(name) if layout.find(name) else pl.lit(None, dtype=pl.String)
    return text.cast(pl.Categorical)


def unreadable(rows: pl.DataFrame, part: pl.DataFrame) -> int:
    """Rows of several fields that were left out; a banner is one field."""
    fields = pl.sum_horizontal(pl.all().is_not_null())
    several = int(rows.select((fields > 1).sum()).item()) if rows.height else 0
    return max(several - part.height, 0)
