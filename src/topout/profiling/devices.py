"""The GPUs of a captured run: utilization, occupancy, kernels and their groups."""

from dataclasses import replace

import polars as pl

from topout.records import DeviceTime
from topout.trace.table import Trace


def device_times(trace: Trace, begin_ns: int, end_ns: int) -> list[DeviceTime]:
    """What `topout trace` says of each GPU between two moments; nothing without a GPU."""
    if trace.device_work.is_empty():
        return []
    from topout.trace.analysis.breakdown import break_down
    from topout.trace.analysis.groups import load_rules

    inside = (pl.col("start_ns") >= begin_ns) & (pl.col("start_ns") < end_ns)
    part = replace(trace, events=trace.events.filter(inside))
    return list(break_down(part, load_rules(None)))
