"""When the host was inside a collective or waited for data, by the names of its events."""

import polars as pl

from topout.trace.analysis.intervals import Intervals, union
from topout.trace.analysis.names import matching_names
from topout.trace.table import Trace

# Backends of torch.distributed mark each run by their name: "gloo:all_reduce".
HOST_COLLECTIVE = r"^(gloo|mpi|ucc|nccl|rccl|xccl|hccl|hpu):[a-z_]+"
# Calls that hold the host until the collective is through, or are the collective itself.
_BLOCKING = r"^(gloo|mpi|ucc):[a-z_]+|wait_tensor|^c10d::(barrier|monitored_barrier_?)$"
_LOADING = r"^enumerate\(DataLoader\)|DataLoaderIter\.__next__"


def communication_on_host(trace: Trace) -> Intervals:
    """When a collective ran on the host itself, as with gloo."""
    return _named(trace, _BLOCKING)


def data_loading(trace: Trace) -> Intervals:
    """When the host fetched the next batch from PyTorch's data loader."""
    return _named(trace, _LOADING)


def _named(trace: Trace, pattern: str) -> Intervals:
    matching = matching_names(trace.events, pattern)
    found = trace.events.filter(
        pl.col("kind").is_in(["cpu_op", "annotation"]) & pl.col("name").is_in(matching)
    )
    starts = found["start_ns"].to_numpy()
    return union(starts, starts + found["duration_ns"].to_numpy())
