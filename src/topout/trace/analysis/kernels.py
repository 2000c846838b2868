"""Time by kernel and by group of kernels, device by device."""

from dataclasses import dataclass

import polars as pl

from topout.records.trace import GroupTime, KernelTime
from topout.trace.analysis.groups import OTHER, Rules, with_groups
from topout.trace.table import DEVICE_WORK

_NS = 1e9
_EXAMPLES = 3
_EXAMPLES_OF_OTHER = 20
# An example of "other" is worth a rule of its own from this share of the device's time on.
_SHARE_WORTH_A_RULE = 0.001


@dataclass(frozen=True)
class DeviceKernels:
    """What one device ran: its longest kernels, and all groups from the longest on."""

    device: int
    total_s: float  # durations in sum: overlapping kernels count each
    kernels: list[KernelTime]
    groups: list[GroupTime]


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


def _of_device(device: int, rows: pl.DataFrame, top: int) -> DeviceKernels:
    total_ns = int(rows["total_ns"].sum())
    whole = max(total_ns, 1)
    kernels = [
        KernelTime(
            name=row["name"] or "",
            group=row["group"],
            calls=row["calls"],
            total_s=row["total_ns"] / _NS,
            mean_s=row["total_ns"] / row["calls"] / _NS,
            min_s=row["min_ns"] / _NS,
            max_s=row["max_ns"] / _NS,
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
            total_s=row["total_ns"] / _NS,
            share=row["total_ns"] / whole,
            examples=_examples(rows, row["group"], whole),
        )
        for row in sums.iter_rows(named=True)
    ]
    return DeviceKernels(device, total_ns / _NS, kernels, groups)


def _examples(rows: pl.DataFrame, group: str, whole_ns: int) -> list[str]:
    """The longest kernels of a group; of "other" all that are worth a rule, at least three."""
    members = rows.filter(pl.col("group").cast(pl.String) == group)
    count = _EXAMPLES
    if group == OTHER:
        worth = int((members["total_ns"] >= _SHARE_WORTH_A_RULE * whole_ns).sum())
        count = min(max(worth, _EXAMPLES), _EXAMPLES_OF_OTHER)
    names: list[str] = members["name"].cast(pl.String).head(count).to_list()
    return names
