"""A profiler's table of sums, calls and time per kernel, as events that have those sums."""

import polars as pl

from topout.trace.readers.csv_table import Layout
from topout.trace.readers.event_names import meanings_of

# Calls of the host, and kinds of records, which rocprof sums up in tables like those of kernels.
_NO_KERNEL = (
    r"^(hip[A-Z]|__hip|hsa_|roctx)|^(HIP|HSA|KERNEL|MARKER|RCCL|SCRATCH|MEMORY_ALLOC)[A-Z_]*$"
)


def summary_calls(rows: pl.DataFrame, layout: Layout, kilo: int) -> pl.DataFrame:
    """The calls of each kernel, with their sum, least and most in ns, and the bytes of copies.

    `rows` are texts, as Tables hands them out; `kilo` is what the tool calls so.
    """
    named, counted = layout.find("name", "operation"), layout.find("instances", "calls", "count")
    assert named and counted  # else it were no summary
    frame = rows.select(
        name=pl.col(named).str.strip_chars(),
        calls=layout.whole(counted, 1.0),
        total=_time(layout, "total time", "time"),
        least=_time(layout, "min"),
        most=_time(layout, "max"),
        bytes=_bytes(layout, kilo),
        host=_is_host(layout) | pl.col(named).str.contains(_NO_KERNEL),
    )
    return frame.drop_nulls(["name", "calls", "total"]).filter(
        (pl.col("calls") > 0) & ~pl.col("host")
    )


def summary_events(frame: pl.DataFrame) -> pl.DataFrame:
    """Events with those sums.

    One event for each call, end to end on device 0, with the row's calls, sum, least and most.
    With two calls or more one event lasts the least, one the most, and the others share the rest
    evenly, where the row's figures allow it; bytes are shared evenly.
    """
    calls = frame.with_columns(number=pl.int_ranges(0, pl.col("calls"))).explode("number")
    calls = calls.select("name", duration_ns=_duration(), bytes=_shared("bytes")).with_columns(
        start_ns=pl.col("duration_ns").cum_sum().shift(1, fill_value=0)
    )
    names = meanings_of(calls["name"]).select("name", "copy_kind", kind="work")
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
        .otherwise(_shared("total"))
    )


def _shared(column: str) -> pl.Expr:
    """A whole number in equal parts, one for each call; the first ones hold one more."""
    whole, calls = pl.col(column), pl.col("calls")
    return whole // calls + (pl.col("number") < whole % calls).cast(pl.Int64)


def _bytes(layout: Layout, kilo: int) -> pl.Expr:
    """Of all calls together; only tables of unified memory have them beside the time."""
    column = layout.find("total size")
    scale = layout.size_bytes(column, kilo) if column else None
    return layout.whole(column, scale) if column and scale else pl.lit(None, dtype=pl.Int64)


def _is_host(layout: Layout) -> pl.Expr:
    """nvprof's `Type` says "API calls" of what the host did."""
    if "type" not in layout.columns:
        return pl.lit(False)
    return pl.col("type").str.to_lowercase().str.contains("api").fill_null(False)


def _time(layout: Layout, *names: str) -> pl.Expr:
    column = layout.find(*names)
    if column is None:
        return pl.lit(None, dtype=pl.Int64)
    return layout.whole(column, layout.nanoseconds(column) or 1e3)
