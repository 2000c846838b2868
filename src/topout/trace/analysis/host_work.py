"""What the host did: operators by their own time, collectives, and waiting for data.

A trace without device events has no kernels: its operators do the work themselves, and are put
into groups in the words used for kernels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.trace.analysis.device_work import numbered
from topout.trace.analysis.groups import COMMUNICATION, MEMORY, Rules, for_operators, group_of
from topout.trace.analysis.intervals import (
    Innermost,
    Intervals,
    bounds_of,
    innermost,
    union,
    union_of,
)
from topout.trace.table import Trace, matching_names

# Backends of torch.distributed mark each run by their name: "gloo:all_reduce".
HOST_COLLECTIVE = r"^(gloo|mpi|ucc|nccl|rccl|xccl|hccl|hpu):[a-z_]+"
# Calls that hold the host until the collective is through, or are the collective itself.
_BLOCKING = r"^(gloo|mpi|ucc):[a-z_]+|wait_tensor|^c10d::(barrier|monitored_barrier_?)$"
_LOADING = r"^enumerate\(DataLoader\)|DataLoaderIter\.__next__"
_TIMED = ("cpu_op", "annotation", "runtime")


@dataclass(frozen=True)
class HostWork:
    """Operators of the host, cut into the pieces in which each ran innermost in its thread."""

    operators: pl.DataFrame  # name, group, start_ns, duration_ns
    runs: pl.DataFrame  # name, start_ns, duration_ns: collectives that the backend carried out
    threads: NDArray[np.int64]  # of the operators: a number for each
    pieces: Innermost  # owners are rows of `operators`
    groups: NDArray[np.uint32]  # of the operators: positions in `group_names`
    group_names: tuple[str, ...]
    communication: Intervals  # runs of collectives, also those beside the operators
    begin_ns: int
    end_ns: int

    @cached_property
    def memory(self) -> Intervals:
        """When an operator of the group that moves memory ran innermost."""
        return self._covered(self._piece_groups == self._number(MEMORY))

    @cached_property
    def compute(self) -> Intervals:
        """When any other operator ran innermost, but those that only queue a collective."""
        groups = self._piece_groups
        return self._covered(
            (groups != self._number(MEMORY)) & (groups != self._number(COMMUNICATION))
        )

    @cached_property
    def busy(self) -> Intervals:
        """When any operator or collective ran."""
        return union_of(self._covered(np.ones(self.pieces.owners.size, np.bool_)), self.waits)

    @cached_property
    def waits(self) -> Intervals:
        """Collectives: their runs, and the operators that queue them or are them."""
        queueing = self._covered(self._piece_groups == self._number(COMMUNICATION))
        return union_of(self.communication, queueing)

    @cached_property
    def self_ns(self) -> NDArray[np.int64]:
        """Own time of each operator."""
        return self.pieces.own_ns(self.operators.height)

    def by_name(self, begin_ns: int, end_ns: int) -> pl.DataFrame:
        """Own time of the operators and collectives that began between two moments.

        Columns: name, group, calls, total_ns, min_ns, max_ns; the longest first.
        """
        operators = self.operators.with_columns(own_ns=pl.Series(self.self_ns))
        runs = self.runs.with_columns(
            group=pl.lit(COMMUNICATION, pl.Categorical), own_ns="duration_ns"
        )
        columns = ("name", "group", "start_ns", "own_ns")
        own = pl.concat([operators.select(columns), runs.select(columns)])
        return (
            own.filter((pl.col("start_ns") >= begin_ns) & (pl.col("start_ns") < end_ns))
            .group_by(pl.col("name", "group").cast(pl.String).fill_null(""))
            .agg(
                pl.len().cast(pl.Int64).alias("calls"),
                pl.col("own_ns").sum().alias("total_ns"),
                pl.col("own_ns").min().alias("min_ns"),
                pl.col("own_ns").max().alias("max_ns"),
            )
            .sort("total_ns", "name", descending=[True, False])
        )

    @cached_property
    def _piece_groups(self) -> NDArray[np.uint32]:
        return self.groups[self.pieces.owners]

    def _number(self, group: str) -> int:
        return self.group_names.index(group) if group in self.group_names else -1

    def _covered(self, chosen: NDArray[np.bool_]) -> Intervals:
        return union(self.pieces.starts[chosen], self.pieces.ends[chosen])


def host_work_of(trace: Trace, rules: Rules) -> HostWork | None:
    """The host's operators; None for a trace that holds neither operators nor collectives."""
    timed = trace.events.filter(pl.col("kind").is_in(list(_TIMED))).select(
        "kind", "name", "start_ns", "duration_ns", "process", "thread"
    )
    is_run = pl.col("kind").is_in(["cpu_op", "annotation"]) & pl.col("name").is_in(
        matching_names(timed, HOST_COLLECTIVE)
    )
    runs = timed.filter(is_run)
    operators = timed.filter((pl.col("kind") == "cpu_op") & ~is_run.fill_null(False))
    if operators.is_empty() and runs.is_empty():
        return None
    operators = _with_groups(operators, rules)
    names, groups = numbered(operators["group"])
    starts, ends = bounds_of(operators)
    threads = _threads(operators)
    all_starts, all_ends = bounds_of(timed)
    return HostWork(
        operators=operators.select("name", "group", "start_ns", "duration_ns"),
        runs=runs.select("name", "start_ns", "duration_ns"),
        threads=threads,
        pieces=innermost(starts, ends, threads),
        groups=groups,
        group_names=names,
        communication=union(*bounds_of(runs)),
        begin_ns=int(all_starts.min()),
        end_ns=int(all_ends.max()),
    )


def _with_groups(operators: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    distinct = operators.select(pl.col("name").unique())
    names = distinct["name"].cast(pl.String).fill_null("")
    found = group_of(list(names), for_operators(rules))
    table = distinct.with_columns(group=pl.Series(found, dtype=pl.Categorical))
    return operators.join(table, on="name", how="left", nulls_equal=True, maintain_order="left")


def _threads(operators: pl.DataFrame) -> NDArray[np.int64]:
    """A number for each thread of each process."""
    columns = [operators[name].fill_null(0).to_numpy() for name in ("process", "thread")]
    processes, threads = (np.unique(column, return_inverse=True)[1] for column in columns)
    return processes.astype(np.int64) * (int(threads.max(initial=0)) + 1) + threads


def communication_on_host(trace: Trace) -> Intervals:
    """When a collective ran on the host itself, as with gloo."""
    return _named(trace, _BLOCKING)


def data_loading(trace: Trace) -> Intervals:
    """When the host fetched the next batch from PyTorch's data loader."""
    return _named(trace, _LOADING)


def _named(trace: Trace, pattern: str) -> Intervals:
    matching = matching_names(trace.events, pattern)
    return union(
        *bounds_of(
            trace.events.filter(
                pl.col("kind").is_in(["cpu_op", "annotation"]) & pl.col("name").is_in(matching)
            )
        )
    )
