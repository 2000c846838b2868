"""The runs of collectives in a trace, and what each moves.

Where a trace has kernels of collectives these are the runs. Without any (gloo, MPI) the marks of
the backend on the host are: "gloo:all_reduce". Operators such as `c10d::allreduce_` only queue a
run; they count where the trace has nothing else.

What each rank must send by the ring, with n ranks and a full buffer of S bytes (Thakur,
Rabenseifner and Gropp, 2005; nccl-tests, PERFORMANCE.md):

- all-reduce sends 2(n−1)/n·S from each rank: a reduce-scatter and an all-gather;
- all-gather, reduce-scatter and all-to-all send (n−1)/n·S, S being the whole of all ranks' parts;
- broadcast, reduce, gather and scatter send (n−1)/n·S in the mean over the ranks: each but the
  last of the chain passes S on;
- send sends S.

Bus bandwidth is what the slowest link carries over the time: the same figures, but S for
broadcast and reduce, whose chain carries all of S over each of its links.
"""

import polars as pl

from topout.trace.analysis.host_work import HOST_COLLECTIVE
from topout.trace.table import HOST_DEVICE, Trace, matching_names

# Sizes of the types as PyTorch's traces write them, lower case.
_ELEMENT_BYTES = {
    "double": 8, "float64": 8, "long": 8, "int64": 8, "long int": 8,
    "complexfloat": 8, "complexdouble": 16,
    "float": 4, "float32": 4, "int": 4, "int32": 4, "uint32": 4, "uint64": 8,
    "half": 2, "float16": 2, "bfloat16": 2, "c10::bfloat16": 2, "c10::half": 2,
    "short": 2, "int16": 2, "short int": 2, "uint16": 2,
    "byte": 1, "char": 1, "bool": 1, "int8": 1, "uint8": 1, "signed char": 1, "unsigned char": 1,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
}  # fmt: skip

_HALVES = frozenset({"all_gather", "reduce_scatter", "all_to_all"})
_CHAINS = frozenset({"broadcast", "reduce", "gather", "scatter"})
# Collectives that no rank leaves before all have entered: their ends lie together on all ranks.
SYNCHRONISING = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "barrier"})

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


def element_bytes(element_type: str | None) -> int | None:
    """Bytes of one element of a type as a trace names it; None: unknown."""
    if element_type is None:
        return None
    return _ELEMENT_BYTES.get(element_type.strip().lower())


def message_elements(
    name: str, elements_in: int | None, elements_out: int | None, group_size: int | None
) -> int | None:
    """Elements of the full buffer: of the gathered parts, where a rank gives only its own."""
    known = [count for count in (elements_in, elements_out) if count is not None]
    if not known:
        return None
    if name == "all_gather" and elements_out is None:
        return elements_in * group_size if elements_in is not None and group_size else None
    if name == "reduce_scatter" and elements_in is None:
        return elements_out * group_size if elements_out is not None and group_size else None
    return max(known) if name in _HALVES else known[0]


def sent_share(name: str, ranks: int) -> float | None:
    """What each rank must send over the full buffer; in the mean, where ranks differ."""
    if ranks < 1:
        return None
    if name == "all_reduce":
        return 2 * (ranks - 1) / ranks
    if name in _HALVES or name in _CHAINS:
        return (ranks - 1) / ranks
    return {"send": 1.0, "recv": 0.0, "barrier": 0.0, "send_recv": 1.0}.get(name)


def bus_share(name: str, ranks: int) -> float | None:
    """What the busiest link carries over the full buffer, as nccl-tests count it."""
    if ranks < 2:
        return None
    if name in {"broadcast", "reduce"}:
        return 1.0
    if name in {"barrier", "recv"}:
        return None
    return sent_share(name, ranks)


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
