"""Time of each device, split into busy and idle, and busy time into what it was spent on.

Lengths are those of unions of intervals: what two streams do at once counts once. The time that
kinds of work cover together is what their lengths exceed the busy time by.
"""

from dataclasses import dataclass

import polars as pl

from topout.records.trace import DeviceTime, GroupTime, KernelTime
from topout.trace.analysis.device_work import DeviceWork, device_work_of
from topout.trace.analysis.groups import Rules
from topout.trace.analysis.host_work import HostWork, host_work_of
from topout.trace.analysis.intervals import Intervals, union_of
from topout.trace.analysis.kernels import DeviceKernels, group_times
from topout.trace.table import HOST_DEVICE, Trace

TOP_KERNELS = 50
NOT_TIMED = "The file is a summary, sums per kernel: it does not say when they ran."
_EXAMPLES = 3
_FROM_TIMES = ("idle_s", "overlap_s", "exposed_communication_s", "utilization")


@dataclass(frozen=True)
class Split:
    """Lengths in nanoseconds; busy + idle = wall, compute + communication + memory − overlap =
    busy."""

    wall_ns: int
    busy_ns: int
    compute_ns: int
    communication_ns: int
    memory_ns: int
    exposed_communication_ns: int

    @property
    def idle_ns(self) -> int:
        """What is not busy."""
        return self.wall_ns - self.busy_ns

    @property
    def overlap_ns(self) -> int:
        """Time covered by two kinds of work, and twice the time covered by three."""
        return self.compute_ns + self.communication_ns + self.memory_ns - self.busy_ns


def break_down(trace: Trace, rules: Rules) -> list[DeviceTime]:
    """Time per device with its groups and longest kernels; of the host where there is no device.

    Groups and kernels are in the order of their time. Empty for a trace that holds neither work
    of a device nor operators.
    """
    work = device_work_of(trace, rules)
    if work:
        return device_times(trace, rules, work)
    host = host_work_of(trace, rules)
    return [] if host is None else [host_time(trace, host)]


def device_times(trace: Trace, rules: Rules, work: list[DeviceWork]) -> list[DeviceTime]:
    """Time of each device whose work is given."""
    kernels = {each.device: each for each in group_times(trace.events, rules, TOP_KERNELS)}
    occupancies = _occupancies(trace)
    names = {device.number: device.name for device in trace.devices}
    return [
        _device_time(
            trace,
            each.device,
            split_of(each),
            kernels[each.device],
            name=names.get(each.device),
            occupancy=occupancies.get(each.device),
        )
        for each in work
    ]


def host_time(trace: Trace, host: HostWork) -> DeviceTime:
    """Time of the host: operators by the time that is their own, from first to last event.

    Collectives that run beside the operators, in threads of the backend, are communication.
    """
    split = _split(host.end_ns - host.begin_ns, host.busy, host.compute, host.waits, host.memory)
    return _device_time(trace, HOST_DEVICE, split, _host_kernels(host), name=trace.host)


def split_of(work: DeviceWork) -> Split:
    """The split of one device's time."""
    wall_ns = work.end_ns - work.begin_ns
    return _split(wall_ns, work.busy, work.compute, work.communication, work.memory)


def _split(
    wall_ns: int, busy: Intervals, compute: Intervals, communication: Intervals, memory: Intervals
) -> Split:
    return Split(
        wall_ns=wall_ns,
        busy_ns=busy.covered_ns,
        compute_ns=compute.covered_ns,
        communication_ns=communication.covered_ns,
        memory_ns=memory.covered_ns,
        exposed_communication_ns=(union_of(compute, communication).covered_ns - compute.covered_ns),
    )


def _device_time(
    trace: Trace,
    device: int,
    split: Split,
    kernels: DeviceKernels,
    *,
    name: str | None = None,
    occupancy: float | None = None,
) -> DeviceTime:
    reasons = {}
    if occupancy is None:
        reasons["occupancy"] = "The trace does not say how full kernels kept the multiprocessors."
    if not trace.timed:
        reasons |= dict.fromkeys(_FROM_TIMES, NOT_TIMED)
    utilization = split.busy_ns / split.wall_ns if split.wall_ns else 0.0
    return DeviceTime(
        rank=trace.rank,
        device=device,
        name=name,
        file=str(trace.path),
        wall_s=split.wall_ns / 1e9,
        busy_s=split.busy_ns / 1e9,
        idle_s=split.idle_ns / 1e9 if trace.timed else None,
        compute_s=split.compute_ns / 1e9,
        communication_s=split.communication_ns / 1e9,
        memory_s=split.memory_ns / 1e9,
        overlap_s=split.overlap_ns / 1e9 if trace.timed else None,
        exposed_communication_s=split.exposed_communication_ns / 1e9 if trace.timed else None,
        utilization=utilization if trace.timed else None,
        occupancy=occupancy,
        kernels=kernels.kernels,
        groups=kernels.groups,
        reasons=reasons,
    )


def _occupancies(trace: Trace) -> dict[int, float]:
    """Mean occupancy per device, each kernel weighted by its time."""
    weight = pl.col("duration_ns").cast(pl.Float64)
    means = (
        trace.events.lazy()
        .filter((pl.col("kind") == "kernel") & pl.col("occupancy").is_not_null())
        .group_by("device")
        .agg(
            (pl.col("occupancy").cast(pl.Float64) * weight).sum().alias("weighted"),
            weight.sum().alias("weight"),
        )
        .filter(pl.col("weight") > 0)
        .collect()
    )
    return {row["device"]: row["weighted"] / row["weight"] for row in means.iter_rows(named=True)}


def _host_kernels(host: HostWork) -> DeviceKernels:
    """Operators in place of kernels, each with the time in which nothing ran inside it."""
    by_name = host.by_name(host.begin_ns, host.end_ns + 1)
    total_ns = int(by_name["total_ns"].sum())
    whole = max(total_ns, 1)
    kernels = [
        KernelTime(
            name=row["name"],
            group=row["group"],
            calls=row["calls"],
            total_s=row["total_ns"] / 1e9,
            mean_s=row["total_ns"] / row["calls"] / 1e9,
            min_s=row["min_ns"] / 1e9,
            max_s=row["max_ns"] / 1e9,
            share=row["total_ns"] / whole,
        )
        for row in by_name.head(TOP_KERNELS).iter_rows(named=True)
    ]
    by_group = (
        by_name.group_by("group")
        .agg(
            pl.col("calls").sum(),
            pl.col("total_ns").sum(),
            pl.col("name").head(_EXAMPLES).alias("examples"),
        )
        .sort("total_ns", "group", descending=[True, False])
    )
    groups = [
        GroupTime(
            name=row["group"],
            calls=row["calls"],
            total_s=row["total_ns"] / 1e9,
            share=row["total_ns"] / whole,
            examples=row["examples"],
        )
        for row in by_group.iter_rows(named=True)
    ]
    return DeviceKernels(HOST_DEVICE, total_ns / 1e9, kernels, groups)
