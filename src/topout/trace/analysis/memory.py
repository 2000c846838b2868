"""Memory of each device over time, from the allocations and releases that a trace recorded."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.records.trace import MemoryPoint
from topout.trace.table import Trace

MOST_POINTS = 400
_KEPT_PER_SLICE = 3  # lowest and highest allocated, highest reserved


def memory_timelines(trace: Trace, most_points: int = MOST_POINTS) -> dict[int, list[MemoryPoint]]:
    """Per device the memory after each allocation and release, thinned; −1 is the host.

    Times are seconds from the trace's first event. Thinned to at most `most_points` (6 or more),
    with the highest and lowest allocation and the highest reservation of each slice of time kept,
    so that no peak is lost. Where a trace does not say the total, it is the sum of the bytes from
    the trace's start on, moved up so that it is never below zero.
    """
    changes = trace.events.filter(pl.col("kind") == "memory").sort("start_ns", maintain_order=True)
    if changes.is_empty():
        return {}
    begin = trace.events["start_ns"].min()
    assert isinstance(begin, int)  # there are events
    timelines = {}
    for (device,), of_device in changes.group_by("device", maintain_order=True):
        points = _points(of_device, begin, most_points)
        if points and isinstance(device, int):
            timelines[device] = points
    return timelines


def _points(changes: pl.DataFrame, begin_ns: int, most_points: int) -> list[MemoryPoint]:
    if changes["allocated_bytes"].null_count() == changes.height:
        total = changes["bytes"].fill_null(0).cum_sum()
        lowest = total.min()
        assert isinstance(lowest, int)
        changes = changes.with_columns(allocated_bytes=total - min(lowest, 0))
    changes = changes.filter(pl.col("allocated_bytes").is_not_null())
    if changes.is_empty():
        return []
    allocated = changes["allocated_bytes"].to_numpy()
    reserved = changes["reserved_bytes"]
    at = changes["start_ns"].to_numpy() - begin_ns
    kept = _kept(at, allocated, reserved.fill_null(0).to_numpy(), most_points)
    # The allocator of the host reserves nothing and reports 0.
    says_reserved = bool((reserved.fill_null(0) > 0).any())
    return [
        MemoryPoint(
            at_s=at_ns / 1e9,
            allocated_bytes=now_allocated,
            reserved_bytes=now_reserved if says_reserved else None,
        )
        for at_ns, now_allocated, now_reserved in zip(
            at[kept].tolist(),
            allocated[kept].tolist(),
            reserved.gather(kept).to_list(),
            strict=True,
        )
    ]


def _kept(
    at: NDArray[np.int64],
    allocated: NDArray[np.int64],
    reserved: NDArray[np.int64],
    most_points: int,
) -> NDArray[np.int64]:
    """Positions that remain, ascending: extremes of each slice of time, the first and the last."""
    count = at.size
    if count <= most_points:
        return np.arange(count, dtype=np.int64)
    slices = max(1, (most_points - 2) // _KEPT_PER_SLICE)
    slice_of = np.minimum((at - at[0]) * slices // max(1, int(at[-1] - at[0])), slices - 1)
    begins = np.flatnonzero(np.concatenate([[True], slice_of[1:] != slice_of[:-1]]))
    kept = [np.array([0, count - 1])]
    for values in (allocated, -allocated, reserved):
        # Sorted by slice and value, the first of each slice has the lowest value.
        kept.append(np.lexsort((values if values is not reserved else -values, slice_of))[begins])
    return np.unique(np.concatenate(kept))
