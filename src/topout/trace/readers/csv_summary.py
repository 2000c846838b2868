"""A summary (sums per kernel, no times) → events that have those sums."""

import polars as pl

from topout.trace.readers.csv_table import Layout
from topout.trace.readers.event_names import copy_kind, work_kind

SUMMARY_DOUBTS = (
    "the file is a summary: it holds calls and sums per kernel, not when they ran; kernels and "
    "groups can be answered, but busy, idle and overlapping time, the critical path and "
    "communication between devices cannot (its events were laid end to end)",
    "a summary does not say which device ran what: all is counted as device 0",
)
_TOTALS = ("total time", "time")
_CALLS = ("instances", "calls", "count")
_NAMES = ("name", "operation")


def summary_rows(rows: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """One event for each call, end to end on device 0, with the row's calls, sum, least and most.

    `rows` are texts, as Tables hands them out. With two calls or more one event lasts the
    least, one the most, and the others share the rest evenly, where the row's figures allow it.
    """
    frame = rows.select(
        name=pl.col(_first(layout, _NAMES)).str.strip_chars(),
        calls=layout.whole(_first(layout, _CALLS), 1.0),
        total=_time(layout, _first(layout, _TOTALS)),
        least=_time(layout, "min"),
        most=_time(layout, "max"),
        host=_is_host(layout),
    )
    frame = frame.drop_nulls(["name", "calls", "total"]).filter(
        (pl.col("calls") > 0) & ~pl.col("host")
    )
    calls = frame.with_columns(number=pl.int_ranges(0, pl.col("calls"))).explode("number")
    calls = calls.select("name", duration_ns=_duration()).with_columns(
        start_ns=pl.col("duration_ns").cum_sum().shift(1, fill_value=0)
    )
    names = calls.select(pl.col("name").unique()).with_columns(
        kind=work_kind(pl.col("name")), copy_kind=copy_kind(pl.col("name"))
    )
    return calls.join(names, on="name", how="left", maintain_order="left").with_columns(
        device=pl.lit(0, dtype=pl.Int32)
    )


def _duration() -> pl.Expr:
    """Of call `number` of `calls`, so that they add up to `total`."""
    calls, total, number = pl.col("calls"), pl.col("total"), pl.col("number")
    others = calls - 2
    rest = total - pl.col("least") - pl.col("most")
    fits = (others >= 0) & (rest >= others * pl.col("least")) & (rest <= others * pl.col("most"))
    # Rounded figures of a row may contradict each other by a little: then all share evenly.
    shared = total // calls + (number < total % calls).cast(pl.Int64)
    middle = rest // others + (number - 2 < rest % others).cast(pl.Int64)
    return (
        pl.when(fits.fill_null(False))
        .then(
            pl.when(number == 0)
            .then(pl.col("least"))
            .when(number == 1)
            .then(pl.col("most"))
            .otherwise(middle)
        )
        .otherwise(shared)
    )


def _is_host(layout: Layout) -> pl.Expr:
    """nvprof's `Type` says "API calls" of what the host did."""
    if "type" not in layout.columns:
        return pl.lit(False)
    return pl.col("type").str.to_lowercase().str.contains("api").fill_null(False)


def _time(layout: Layout, column: str) -> pl.Expr:
    if column not in layout.columns:
        return pl.lit(None, dtype=pl.Int64)
    return layout.whole(column, layout.nanoseconds(column) or 1e3)


def _first(layout: Layout, names: tuple[str, ...]) -> str:
    return next(name for name in names if name in layout.columns)
