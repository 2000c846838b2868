"""One trace in memory: its events as columns, and what else a file says of the machine and run.

Every reader fills the same columns, so that no analysis asks where a trace came from. Times are
whole nanoseconds on the clock of the trace's host.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import polars as pl

TraceFormat = Literal[
    "kineto", "pytorch_legacy_json", "jax_json",
    "nvprof_csv", "nsys_csv", "nsys_sqlite", "nsys_json",
    "rocprof_json", "rocprof_csv", "rocprofv3_json",
]  # fmt: skip
EventKind = Literal[
    # on a device
    "kernel",
    "memcpy",
    "memset",
    "gpu_annotation",  # a named region as the device saw it: spans kernels, is not work itself
    "gpu_sync",  # a wait between streams or for an event
    # on the host
    "cpu_op",  # an operator of PyTorch
    "runtime",  # a call of the CUDA (HIP, …) runtime or driver
    "annotation",  # record_function, NVTX, the profiler's steps
    "python",  # a Python function
    "memory",  # an allocation or release: no duration, `bytes` signed
    "other",
]
DEVICE_WORK: tuple[EventKind, ...] = ("kernel", "memcpy", "memset")
CopyKind = Literal["HtoD", "DtoH", "DtoD", "HtoH", "PtoP"]
COPY_KINDS: tuple[CopyKind, ...] = get_args(CopyKind)
HOST_DEVICE = -1  # the `device` of what happens on the host

# Columns of `Trace.events`. A reader may leave out a column of which its format knows nothing:
# `with_all_columns` adds it as null. Rows are in the order of `start_ns`.
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "start_ns": pl.Int64,  # from `Trace.origin_ns`
    "duration_ns": pl.Int64,  # 0 or more; readers clip negative ones to 0 and count them
    "kind": pl.Enum(get_args(EventKind)),
    "name": pl.Categorical,
    "device": pl.Int32,  # number of the GPU; HOST_DEVICE on the host
    "stream": pl.Int64,  # of the device; null on the host
    "process": pl.Int64,  # of the host
    "thread": pl.Int64,  # of the host
    "correlation": pl.Int64,  # joins device work with the runtime call that launched it
    "graph": pl.Int64,  # of captured work, the graph and its node in it; null or 0 for other work
    "graph_node": pl.Int64,
    "external": pl.Int64,  # joins device work and runtime calls with the operator around them
    "bytes": pl.Int64,  # of copies and fills; of an allocation, negative when it is released
    "copy_kind": pl.Enum(COPY_KINDS),
    "from_device": pl.Int32,  # of a copy between devices
    "to_device": pl.Int32,
    "collective": pl.Categorical,  # "all_reduce", "all_gather", "reduce_scatter", "broadcast", …
    "elements_in": pl.Int64,  # of a collective's message, on this rank
    "elements_out": pl.Int64,
    "element_type": pl.Categorical,  # of the message, as the trace says it: "Float", "BFloat16"
    "group_size": pl.Int32,  # ranks that take part
    "group_name": pl.Categorical,  # of the process group
    "occupancy": pl.Float32,  # 0 to 1, as the profiler estimated it
    "sm_share": pl.Float32,  # blocks per multiprocessor, at most 1
    "shapes": pl.String,  # of an operator's inputs, as JSON text: "[[32, 768], [768]]"
    "element_types": pl.String,  # of an operator's inputs, as JSON text
    "flops": pl.Int64,  # as the profiler counted them; 0 or null where it did not
    "sequence": pl.Int64,  # autograd's number: joins a backward operator with its forward one
    "allocated_bytes": pl.Int64,  # after an allocation or release, on its device
    "reserved_bytes": pl.Int64,
}


@dataclass(frozen=True)
class Device:
    """A GPU as the trace describes it; what it does not say is None."""

    number: int
    name: str
    memory_bytes: int | None = None
    multiprocessors: int | None = None
    compute_capability: str | None = None


@dataclass(frozen=True)
class Trace:
    """One file: the events of one rank, or of one process with all its devices."""

    path: Path
    format: TraceFormat
    events: pl.DataFrame
    rank: int | None = None
    world_size: int | None = None
    backend: str | None = None  # of torch.distributed: "nccl", "gloo"
    host: str | None = None
    origin_ns: int = 0  # Unix time at which `start_ns` is 0; 0 where unknown
    devices: tuple[Device, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)  # "cuda", "pytorch", "schema"
    timed: bool = True  # False: the file was a summary, whose events are laid end to end
    holds_copies: bool = True  # False: copies and fills were not recorded, or may not have been
    # What was found in the file and left out or mended, in words, with how often.
    doubts: tuple[str, ...] = ()

    @property
    def device_work(self) -> pl.DataFrame:
        """Kernels, copies and fills alone."""
        return self.events.filter(pl.col("kind").is_in(list(DEVICE_WORK)))

    @property
    def device_numbers(self) -> list[int]:
        """GPUs that did work, ascending."""
        found = self.device_work["device"].drop_nulls().unique().sort()
        return [int(number) for number in found if number >= 0]


def with_all_columns(events: pl.DataFrame) -> pl.DataFrame:
    """`events` with every column of SCHEMA in its order and type, sorted by time.

    What cannot be read may be null still: `topout.trace.plausible` takes it out.
    """
    columns = [
        (pl.col(name) if name in events.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in SCHEMA.items()
    ]
    return events.select(columns).sort("start_ns", maintain_order=True)


def not_negative(events: pl.DataFrame, doubts: list[str]) -> pl.DataFrame:
    """`events` with negative durations taken as 0; how many there were is added to `doubts`."""
    negative = int((events["duration_ns"] < 0).sum())
    if not negative:
        return events
    doubts.append(f"{negative} negative durations were taken as 0")
    return events.with_columns(duration_ns=pl.col("duration_ns").clip(lower_bound=0))


def matching_names(events: pl.DataFrame, pattern: str) -> list[str]:
    """Names that occur in `events` and match a regular expression, searched anywhere in them.

    Each name is looked at once, however often it occurs.
    """
    names = events["name"].unique().cast(pl.String).drop_nulls()
    return names.filter(names.str.contains(pattern)).to_list()
