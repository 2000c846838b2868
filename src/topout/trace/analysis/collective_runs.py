"""Each run of a collective in a trace: when, by whom, in which group, with how many bytes.

Where a trace has kernels of collectives these are the runs. Without any (gloo, MPI) the marks of
the backend on the host are: "gloo:all_reduce". Operators such as `c10d::allreduce_` only queue a
run; they count where the trace has nothing else.
"""

import polars as pl

from topout.trace.analysis.collectives import element_bytes, message_elements
from topout.trace.analysis.host_waits import HOST_COLLECTIVE
from topout.trace.analysis.names import matching_names
from topout.trace.table import HOST_DEVICE, Trace

# Of the frame that `collective_runs` gives; sorted by start.
RUNS_SCHEMA = pl.Schema(
    {
        "device": pl.Int32(),  # HOST_DEVICE for a run on the host
        "name": pl.String(),
        "group": pl.String(),  # "" where the trace does not say
        "group_size": pl.Int32(),
        "bytes": pl.Int64(),  # of the full buffer; null where unknown
        "start_ns": pl.Int64(),
        "end_ns": pl.Int64(),
    }
)
UNNAMED = "collective"  # of a kernel of NCCL that does not say which it is
_DEVICE_RUN = r"(?i)^(nccl|rccl)"
_MESSAGE = ("collective", "elements_in", "elements_out", "element_type", "group_size", "group_name")


def collective_runs(trace: Trace) -> pl.DataFrame:
    """Runs of collectives of one trace; columns as in RUNS_SCHEMA."""
    kernels = trace.events.filter(
        (pl.col("kind") == "kernel")
        & (
            pl.col("collective").is_not_null()
            | pl.col("name").is_in(matching_names(trace.events, _DEVICE_RUN))
        )
    )
    return _described(kernels if kernels.height else _on_host(trace), trace.world_size)


def _on_host(trace: Trace) -> pl.DataFrame:
    on_host = trace.events.filter(
        pl.col("kind").is_in(["annotation", "cpu_op"]) & pl.col("collective").is_not_null()
    )
    is_mark = pl.col("name").is_in(matching_names(on_host, HOST_COLLECTIVE))
    marks, operators = on_host.filter(is_mark), on_host.filter(~is_mark)
    return _with_sizes(marks, operators) if marks.height else operators


def _with_sizes(marks: pl.DataFrame, operators: pl.DataFrame) -> pl.DataFrame:
    """Group and size from the operators that queued the runs, where there are as many of each."""
    turn = pl.int_range(pl.len()).over("collective").alias("turn")
    operators = operators.sort("start_ns", maintain_order=True)
    marks = marks.sort("start_ns", maintain_order=True).with_columns(turn)
    for (_name,), queued in operators.group_by("name", maintain_order=True):
        of_one_name = queued.with_columns(turn)
        alike = (
            marks["collective"]
            .value_counts()
            .join(of_one_name["collective"].value_counts(), on=["collective", "count"])
        )
        said = of_one_name.filter(
            pl.col("collective").is_in(alike["collective"].cast(pl.String).to_list())
        ).select("turn", *_MESSAGE)
        marks = _filled(marks, said)
    return marks


def _filled(marks: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """`marks` with what is null in them as `said` of the same turn of the same collective."""
    columns = [column for column in _MESSAGE if column != "collective"]
    joined = marks.join(
        said, on=["collective", "turn"], how="left", suffix="_said", maintain_order="left"
    )
    return joined.with_columns(
        pl.coalesce(column, f"{column}_said").alias(column) for column in columns
    ).select(marks.columns)


def _described(runs: pl.DataFrame, world_size: int | None) -> pl.DataFrame:
    messages = runs.select(_MESSAGE).unique(maintain_order=True)
    sizes, counts = [], []
    for row in messages.iter_rows(named=True):
        ranks = row["group_size"] or world_size
        elements = message_elements(
            row["collective"] or UNNAMED, row["elements_in"], row["elements_out"], ranks
        )
        each = element_bytes(row["element_type"])
        sizes.append(ranks)
        counts.append(None if elements is None or each is None else elements * each)
    read = messages.with_columns(
        pl.Series("ranks", sizes, pl.Int32), pl.Series("message_bytes", counts, pl.Int64)
    )
    described = runs.join(
        read, on=list(_MESSAGE), how="left", nulls_equal=True, maintain_order="left"
    )
    return (
        described.select(
            pl.col("device").fill_null(HOST_DEVICE),
            pl.col("collective").cast(pl.String).fill_null(UNNAMED).alias("name"),
            pl.col("group_name").cast(pl.String).fill_null("").alias("group"),
            pl.col("ranks").alias("group_size"),
            pl.col("message_bytes").alias("bytes"),
            "start_ns",
            (pl.col("start_ns") + pl.col("duration_ns")).alias("end_ns"),
        )
        .cast(RUNS_SCHEMA)
        .sort("start_ns", maintain_order=True)
    )
