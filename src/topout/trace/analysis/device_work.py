"""The work of one device as arrays, the host's calls that launched it, and the marked steps."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.trace.analysis.groups import COMMUNICATION, Rules, with_groups
from topout.trace.analysis.intervals import Intervals, Nanoseconds, bounds_of, nothing, union
from topout.trace.table import DEVICE_WORK, Trace, matching_names

# cudaStreamSynchronize, cuCtxSynchronize, …, and copies that return only when they are done.
_SYNCHRONISES = (
    r"(?i)synchronize|^(cuda|hip)Memcpy(2D|3D)?(WithStream)?(_v\d+)?$|^cuMemcpy[DH]to[DH]"
)
_STEP_NAME = r"^ProfilerStep"  # torch.profiler's own mark: "ProfilerStep#7"
_COPIES = ("memcpy", "memset")
UNKNOWN = -1  # in place of a correlation, a process, a position


@dataclass(frozen=True)
class Launches:
    """Calls of the runtime that carry a correlation, in the order of `keys`."""

    keys: NDArray[np.int64]  # correlation, told apart by process where there are several
    starts: Nanoseconds
    threads: NDArray[np.int64]
    several_processes: bool

    def __len__(self) -> int:
        return int(self.keys.size)

    def find(
        self, correlations: NDArray[np.int64], processes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Position of the call behind each correlation, UNKNOWN where there is none."""
        if not len(self):
            return np.full(correlations.size, UNKNOWN, np.int64)
        wanted = _key(correlations, processes) if self.several_processes else correlations
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self) - 1)
        found = (self.keys[place] == wanted) & (correlations != UNKNOWN)
        positions: NDArray[np.int64] = np.where(found, place, UNKNOWN)
        return positions


def launches_of(trace: Trace) -> Launches:
    """All runtime calls of the trace that have a correlation; of several with one, the first."""
    calls = trace.events.filter((pl.col("kind") == "runtime") & pl.col("correlation").is_not_null())
    processes = calls["process"].fill_null(UNKNOWN).to_numpy()
    correlations = calls["correlation"].to_numpy()
    # Numbers of calls begin anew in each process: Nsight Systems records several in one file.
    device_side = trace.device_work["process"]
    several = np.unique(processes).size > 1 and device_side.null_count() < len(device_side)
    keys = _key(correlations, processes) if several else correlations
    unique, first = np.unique(keys, return_index=True)
    starts, threads = calls["start_ns"].to_numpy(), calls["thread"].fill_null(0).to_numpy()
    return Launches(unique, starts[first], threads[first], several)


@dataclass(frozen=True)
class HostWaits:
    """Calls that hold the host until the device is through, in the order of their ends."""

    starts: Nanoseconds
    ends: Nanoseconds


def host_waits_of(trace: Trace, launches: Launches) -> HostWaits:
    """Synchronising calls on the threads that launch work.

    Others, such as the thread that pins batches for the loader, do not hold up the launches.
    """
    waiting = matching_names(trace.events, _SYNCHRONISES)
    calls = trace.events.filter(
        (pl.col("kind") == "runtime")
        & pl.col("name").is_in(waiting)
        & pl.col("thread").fill_null(0).is_in(np.unique(launches.threads).tolist())
    )
    starts, ends = bounds_of(calls)
    order = np.argsort(ends, kind="stable")
    return HostWaits(starts[order], ends[order])


def _key(correlations: NDArray[np.int64], processes: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number of the two: correlations are 32 bits wide, numbers of processes 22."""
    return correlations + (processes.astype(np.int64) << np.int64(40))


@dataclass(frozen=True)
class DeviceWork:
    """Kernels, copies and fills of one device in the order of their starts."""

    device: int
    starts: Nanoseconds
    ends: Nanoseconds
    streams: NDArray[np.int64]
    correlations: NDArray[np.int64]  # UNKNOWN where the trace has none
    processes: NDArray[np.int64]
    groups: NDArray[np.uint32]  # positions in `group_names`
    group_names: tuple[str, ...]
    is_communication: NDArray[np.bool_]
    is_memory: NDArray[np.bool_]  # copies and fills, but those from device to device
    # Gaps in which work may have run that was not recorded, and in words what was not.
    unknown: Intervals = field(default_factory=nothing)
    beyond: Intervals = field(default_factory=nothing)  # the same before and after all its work
    lost: str = ""

    def __len__(self) -> int:
        return int(self.starts.size)

    @cached_property
    def busy(self) -> Intervals:
        """When the device did anything."""
        return union(self.starts, self.ends)

    @cached_property
    def communication(self) -> Intervals:
        """When it ran collectives."""
        return self._covered(self.is_communication)

    @cached_property
    def memory(self) -> Intervals:
        """When it copied or filled."""
        return self._covered(self.is_memory)

    @cached_property
    def compute(self) -> Intervals:
        """When it ran any other kernel."""
        return self._covered(~self.is_communication & ~self.is_memory)

    @property
    def begin_ns(self) -> int:
        """Start of the first event."""
        return int(self.starts[0])

    @cached_property
    def end_ns(self) -> int:
        """End of the last event."""
        return int(self.ends.max())

    @cached_property
    def idle_is_known(self) -> bool:
        """Whether more of the time in which nothing is recorded was idle than is unknown."""
        open_ns = self.end_ns - self.begin_ns - self.busy.covered_ns
        return 2 * self.unknown.covered_ns <= open_ns

    def during(self, begin_ns: int, end_ns: int) -> "DeviceWork":
        """What the device did between two moments, events that reach beyond them included."""
        last = int(np.searchsorted(self.starts, end_ns, side="left"))
        chosen = np.flatnonzero(self.ends[:last] > begin_ns)
        return replace(
            self,
            starts=self.starts[chosen],
            ends=self.ends[chosen],
            streams=self.streams[chosen],
            correlations=self.correlations[chosen],
            processes=self.processes[chosen],
            groups=self.groups[chosen],
            is_communication=self.is_communication[chosen],
            is_memory=self.is_memory[chosen],
        )

    def _covered(self, chosen: NDArray[np.bool_]) -> Intervals:
        return union(self.starts[chosen], self.ends[chosen])


def device_work_of(trace: Trace, rules: Rules) -> list[DeviceWork]:
    """Work per device of the trace, devices ascending; empty for a trace of the host alone."""
    work = trace.events.filter(
        pl.col("kind").is_in(list(DEVICE_WORK)) & (pl.col("device") >= 0)
    ).select(
        "start_ns", "duration_ns", "kind", "name", "device", "stream", "process", "correlation",
        "collective",
    )  # fmt: skip
    if work.is_empty():
        return []
    if not work["start_ns"].is_sorted():
        work = work.sort("start_ns", maintain_order=True)
    devices = work["device"].unique().sort().to_list()
    grouped = with_groups(work, rules)
    of_time = grouped if rules.of_time is None else with_groups(work, rules.of_time)
    names, groups = numbered(grouped["group"])
    work = work.with_columns(
        pl.Series("group", groups), (of_time["group"] == COMMUNICATION).alias("communicates")
    )
    return [
        _device_work(device, work.filter(pl.col("device") == device), names) for device in devices
    ]


def numbered(texts: pl.Series) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
    """The texts that occur in a categorical column, ascending, and each row's position in them."""
    distinct = texts.unique()
    known = tuple(sorted(distinct.cast(pl.String).to_list()))
    codes = texts.to_physical().to_numpy()
    place = np.zeros(int(codes.max(initial=0)) + 1, np.uint32)
    place[distinct.to_physical().to_numpy()] = [
        known.index(text) for text in distinct.cast(pl.String).to_list()
    ]
    return known, place[codes]


def _device_work(device: int, work: pl.DataFrame, names: tuple[str, ...]) -> DeviceWork:
    starts, ends = bounds_of(work)
    # A kernel that carries the figures of a collective is one, whatever the rules call it.
    communicates = (work["communicates"] | work["collective"].is_not_null()).to_numpy()
    return DeviceWork(
        device=device,
        starts=starts,
        ends=ends,
        streams=work["stream"].fill_null(0).to_numpy(),
        correlations=work["correlation"].fill_null(UNKNOWN).to_numpy(),
        processes=work["process"].fill_null(UNKNOWN).to_numpy(),
        groups=work["group"].to_numpy(),
        group_names=names,
        is_communication=communicates,
        is_memory=work["kind"].is_in(list(_COPIES)).to_numpy() & ~communicates,
    )


@dataclass(frozen=True)
class Step:
    """One step: from its mark's start to its end, on the host."""

    name: str
    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        """From start to end."""
        return self.end_ns - self.start_ns


def steps_of(trace: Trace) -> list[Step]:
    """Marked steps in the order of time; none where the trace marks none."""
    marks = matching_names(trace.events, _STEP_NAME)
    if not marks:
        return []
    found = (
        trace.events.lazy()
        .filter((pl.col("kind") == "annotation") & pl.col("name").is_in(marks))
        .select(pl.col("name").cast(pl.String), "start_ns", "duration_ns")
        .sort("start_ns")
        .collect()
    )
    return [Step(name, start, start + duration) for name, start, duration in found.iter_rows()]


def device_steps(steps: list[Step], work: DeviceWork, launches: Launches) -> list[Step]:
    """The steps as the device lived them: each from the end of the one before to its own.

    A step ends with its mark on the host or with the last work that was launched in it, whichever
    is later. Work whose launch the trace does not show belongs to the step in which it began.
    """
    calls = launches.find(work.correlations, work.processes)
    launched = work.starts
    if len(launches):
        launched = np.where(calls == UNKNOWN, work.starts, launches.starts[calls])
    marks = np.array([step.start_ns for step in steps], np.int64)
    step_of = np.searchsorted(marks, launched, side="right") - 1
    ends = np.array([step.end_ns for step in steps], np.int64)
    inside = step_of >= 0
    inside[inside] = launched[inside] < ends[step_of[inside]]
    np.maximum.at(ends, step_of[inside], work.ends[inside])
    begins = np.maximum(marks, np.concatenate([marks[:1], ends[:-1]]))
    return [
        Step(step.name, begin, max(begin, end))
        for step, begin, end in zip(steps, begins.tolist(), ends.tolist(), strict=True)
    ]


def middle_step(steps: list[Step]) -> Step:
    """The step of median duration (of an even number, the shorter of the two in the middle)."""
    ranked = sorted(steps, key=lambda step: (step.duration_ns, step.start_ns))
    return ranked[(len(ranked) - 1) // 2]
