"""The work of one device as arrays: what every analysis of a device's time begins with."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.trace.analysis.groups import COMMUNICATION, Rules, with_groups
from topout.trace.analysis.intervals import Intervals, Nanoseconds, bounds_of, union
from topout.trace.analysis.launches import UNKNOWN
from topout.trace.table import DEVICE_WORK, Trace

_COPIES = ("memcpy", "memset")


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

    def during(self, begin_ns: int, end_ns: int) -> "DeviceWork":
        """What the device did between two moments, events that reach beyond them included."""
        last = int(np.searchsorted(self.starts, end_ns, side="left"))
        chosen = np.flatnonzero(self.ends[:last] > begin_ns)
        return DeviceWork(
            device=self.device,
            starts=self.starts[chosen],
            ends=self.ends[chosen],
            streams=self.streams[chosen],
            correlations=self.correlations[chosen],
            processes=self.processes[chosen],
            groups=self.groups[chosen],
            group_names=self.group_names,
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
    work = with_groups(work, rules)
    names, groups = numbered(work["group"])
    work = work.with_columns(pl.Series("group", groups))
    if len(devices) == 1:
        return [_device_work(devices[0], work, names)]
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
    groups = work["group"].to_numpy()
    named = np.array([name == COMMUNICATION for name in names], np.bool_)[groups]
    # A kernel that carries the figures of a collective is one, whatever the rules call it.
    communicates = named | work["collective"].is_not_null().to_numpy()
    return DeviceWork(
        device=device,
        starts=starts,
        ends=ends,
        streams=work["stream"].fill_null(0).to_numpy(),
        correlations=work["correlation"].fill_null(UNKNOWN).to_numpy(),
        processes=work["process"].fill_null(UNKNOWN).to_numpy(),
        groups=groups,
        group_names=names,
        is_communication=communicates,
        is_memory=work["kind"].is_in(list(_COPIES)).to_numpy() & ~communicates,
    )
