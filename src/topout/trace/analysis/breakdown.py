"""Time of each device: busy and idle, what it was spent on, by kernel and by group of kernels.

Lengths are those of unions of intervals: what two streams do at once counts once. The time that
kinds of work cover together is what their lengths exceed the busy time by.
"""

from dataclasses import dataclass, replace

import polars as pl

from topout.records.trace import DeviceTime, GroupTime, KernelTime
from topout.trace.analysis.completeness import recorded_work, without_devices
from topout.trace.analysis.device_work import DeviceWork
from topout.trace.analysis.groups import OTHER, Rules, with_groups
from topout.trace.analysis.host_work import HostWork, host_work_of
from topout.trace.analysis.intervals import Intervals, union_of
from topout.trace.table import DEVICE_WORK, HOST_DEVICE, Trace

TOP_KERNELS = 50
NOT_TIMED = "The file is a summary, sums per kernel: it does not say when they ran."
NO_COPIES = "Copies and fills were not recorded in the file."
_EXAMPLES = 3
_EXAMPLES_OF_OTHER = 20
# An example of "other" is worth a rule of its own from this share of the device's time on.
_SHARE_WORTH_A_RULE = 0.001
_FROM_TIMES = ("idle_s", "overlap_s", "exposed_communication_s", "utilization")


@dataclass(frozen=True)
class Split:
    """Lengths in nanoseconds; busy + idle + unknown = wall, compute + communication + memory −
    overlap = busy."""

    wall_ns: int
    busy_ns: int
    compute_ns: int
    communication_ns: int
    memory_ns: int
    exposed_communication_ns: int
    unknown_ns: int = 0

    @property
    def idle_ns(self) -> int:
        """What is neither busy nor unknown."""
        return self.wall_ns - self.busy_ns - self.unknown_ns

    @property
    def overlap_ns(self) -> int:
        """Time covered by two kinds of work, and twice the time covered by three."""
        return self.compute_ns + self.communication_ns + self.memory_ns - self.busy_ns


@dataclass(frozen=True)
class DeviceKernels:
    """What one device ran: its longest kernels, and all groups from the longest on."""

    device: int
    total_s: float  # durations in sum: overlapping kernels count each
    kernels: list[KernelTime]
    groups: list[GroupTime]


def break_down(trace: Trace, rules: Rules) -> list[DeviceTime]:
    """Time per device with its groups and longest kernels; of the host where there is no device.

    Groups and kernels are in the order of their time. Empty for a trace that holds neither work
    of a device nor operators.
    """
    work = recorded_work(trace, rules)
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
            lost=each.lost,
            name=names.get(each.device),
            occupancy=occupancies.get(each.device),
        )
        for each in work
    ]


def host_time(trace: Trace, host: HostWork) -> DeviceTime:
    """Time of the host: operators by the time that is their own, from first to last event.

    Collectives that run beside the operators, in threads of the backend, are communication. Where
    work of devices was launched of which nothing is recorded, what is not busy is unknown.
    """
    split = _split(host.end_ns - host.begin_ns, host.busy, host.compute, host.waits, host.memory)
    if lost := without_devices(trace):
        split = replace(split, unknown_ns=split.idle_ns)
    return _device_time(trace, HOST_DEVICE, split, _host_kernels(host), name=trace.host, lost=lost)


def split_of(work: DeviceWork) -> Split:
    """The split of one device's time; where most of its gaps are unknown, all of them are."""
    wall_ns = work.end_ns - work.begin_ns
    split = _split(wall_ns, work.busy, work.compute, work.communication, work.memory)
    unknown_ns = work.unknown.covered_ns if work.idle_is_known else split.idle_ns
    return replace(split, unknown_ns=unknown_ns)


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
    lost: str = "",
) -> DeviceTime:
    reasons = {"unknown_s": lost} if lost else {}
    if occupancy is None:
        reasons["occupancy"] = "The trace does not say how full kernels kept the multiprocessors."
    if not trace.holds_copies:
        reasons["memory_s"] = NO_COPIES
    if not trace.timed:
        reasons |= dict.fromkeys(_FROM_TIMES, NOT_TIMED)
    has_idle = trace.timed and not (split.unknown_ns and not split.idle_ns)
    if trace.timed and not has_idle:
        reasons |= {"idle_s": lost, "utilization": lost}
    utilization = split.busy_ns / split.wall_ns if split.wall_ns else 0.0
    return DeviceTime(
        rank=trace.rank,
        device=device,
        name=name,
        file=str(trace.path),
        wall_s=split.wall_ns / 1e9,
        busy_s=split.busy_ns / 1e9,
        idle_s=split.idle_ns / 1e9 if has_idle else None,
        unknown_s=split.unknown_ns / 1e9,
        compute_s=split.compute_ns / 1e9,
        communication_s=split.communication_ns / 1e9,
        memory_s=split.memory_ns / 1e9 if trace.holds_copies else None,
        overlap_s=split.overlap_ns / 1e9 if trace.timed else None,
        exposed_communication_s=split.exposed_communication_ns / 1e9 if trace.timed else None,
        utilization=utilization if has_idle else None,
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


def kernel_table(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """One row for each device, kind of work and name that ran, the longest first.

    Columns: device, kind, name, group, calls, total_ns, min_ns, max_ns. Work of no device is left
    out. `events` are those of a Trace.
    """
    work = events.filter(pl.col("kind").is_in(list(DEVICE_WORK)) & (pl.col("device") >= 0))
    duration = pl.col("duration_ns")
    sums = work.group_by("device", "kind", "name").agg(
        calls=pl.len().cast(pl.Int64),
        total_ns=duration.sum(),
        min_ns=duration.min(),
        max_ns=duration.max(),
    )
    order = pl.col("name").cast(pl.String)
    return (
        with_groups(sums, rules)
        .select("device", "kind", "name", "group", "calls", "total_ns", "min_ns", "max_ns")
        .sort(pl.col("device"), -pl.col("total_ns"), order)
    )


def group_times(events: pl.DataFrame, rules: Rules, top: int = 10) -> list[DeviceKernels]:
    """Kernels and groups of each device that did work, by ascending number.

    `top` is how many kernels to list; groups count them all and add up to `total_s`.
    """
    table = kernel_table(events, rules)
    return [
        _of_device(int(key[0]), rows, top)
        for key, rows in table.group_by("device", maintain_order=True)
    ]


def _host_kernels(host: HostWork) -> DeviceKernels:
    """Operators in place of kernels, each with the time in which nothing ran inside it."""
    rows = host.by_name(host.begin_ns, host.end_ns + 1)
    return _of_device(HOST_DEVICE, rows, TOP_KERNELS, examples_of_other=_EXAMPLES)


def _of_device(
    device: int, rows: pl.DataFrame, top: int, examples_of_other: int = _EXAMPLES_OF_OTHER
) -> DeviceKernels:
    """`rows` have name, group, calls, total_ns, min_ns and max_ns; the longest stand first."""
    total_ns = int(rows["total_ns"].sum())
    whole = max(total_ns, 1)
    kernels = [
        KernelTime(
            name=row["name"] or "",
            group=row["group"],
            calls=row["calls"],
            total_s=row["total_ns"] / 1e9,
            mean_s=row["total_ns"] / row["calls"] / 1e9,
            min_s=row["min_ns"] / 1e9,
            max_s=row["max_ns"] / 1e9,
            share=row["total_ns"] / whole,
        )
        for row in rows.head(top).iter_rows(named=True)
    ]
    sums = rows.group_by("group").agg(pl.col("calls").sum(), pl.col("total_ns").sum())
    sums = sums.sort(-pl.col("total_ns"), pl.col("group").cast(pl.String))
    groups = [
        GroupTime(
            name=row["group"],
            calls=row["calls"],
            total_s=row["total_ns"] / 1e9,
            share=row["total_ns"] / whole,
            examples=_examples(rows, row["group"], whole, examples_of_other),
        )
        for row in sums.iter_rows(named=True)
    ]
    return DeviceKernels(device, total_ns / 1e9, kernels, groups)


def _examples(rows: pl.DataFrame, group: str, whole_ns: int, most_of_other: int) -> list[str]:
    """The longest kernels of a group; of "other" all that are worth a rule, at least three."""
    members = rows.filter(pl.col("group").cast(pl.String) == group)
    count = _EXAMPLES
    if group == OTHER:
        worth = int((members["total_ns"] >= _SHARE_WORTH_A_RULE * whole_ns).sum())
        count = min(max(worth, _EXAMPLES), most_of_other)
    names: list[str] = members["name"].cast(pl.String).fill_null("").head(count).to_list()
    return names
