"""Which files are recordings of one process, one after the other: the cycles of its profiler.

torch.profiler's schedule writes a file for each cycle. A rank that occurs twice is no second rank
where the files follow each other in time and are of one process.
"""

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from topout.trace.analysis.intervals import bounds_of
from topout.trace.table import Trace

_UNIX_YEAR_2001_NS = 10**18  # a smaller time counts from an unknown moment
# HOST_PID.NANOSECONDS.pt.trace.json, as torch.profiler.tensorboard_trace_handler names files
_PROCESS_IN_NAME = re.compile(r"^(.+_\d+)\.\d+\.pt\.trace\.json")
_OF_HOST = ("cpu_op", "runtime", "annotation")


class Ranks(NamedTuple):
    """The traces of a job, those of one rank put together."""

    traces: list[Trace]
    places: list[int]  # of each trace that was given, in `traces`
    cycles: list[int | None]  # of each trace that was given, from 1; None: its rank has one


def ranks_of(given: Sequence[Trace]) -> Ranks:
    """What was given, with the cycles of a rank joined into one trace on its clock."""
    traces: list[Trace] = []
    places = [0] * len(given)
    for numbers in _processes(given):
        for number in numbers:
            places[number] = len(traces)
        parts = [given[number] for number in numbers]
        traces.append(parts[0] if len(parts) == 1 else _joined(parts))
    return Ranks(traces, places, cycles_of(given))


def cycles_of(given: Sequence[Trace]) -> list[int | None]:
    """Of each trace which cycle of its process it is, from 1; None where it is the only one."""
    cycles: list[int | None] = [None] * len(given)
    for numbers in _processes(given):
        if len(numbers) > 1:
            for cycle, number in enumerate(numbers, 1):
                cycles[number] = cycle
    return cycles


def _processes(given: Sequence[Trace]) -> list[list[int]]:
    """The numbers of the traces of each process, in the order of time."""
    of_process: dict[Hashable, list[int]] = {}
    for number, trace in enumerate(given):
        of_process.setdefault(_process_key(trace, number), []).append(number)
    found = []
    for numbers in of_process.values():
        ordered = _in_turn(given, numbers) if len(numbers) > 1 else None
        found += [[number] for number in numbers] if ordered is None else [ordered]
    return found


def span_of(trace: Trace) -> tuple[int, int] | None:
    """Unix time of the first and last event; None where it counts from an unknown moment."""
    if trace.events.is_empty():
        return None
    starts, ends = bounds_of(trace.events)
    if not trace.origin_ns and starts[0] < _UNIX_YEAR_2001_NS:
        return None
    return trace.origin_ns + int(starts[0]), trace.origin_ns + int(ends.max())


def _process_key(trace: Trace, number: int) -> Hashable:
    """Equal for files that may be of one process."""
    if trace.rank is not None:
        return ("rank", trace.rank)
    named = _PROCESS_IN_NAME.match(trace.path.name)
    return ("process", named[1]) if named else ("file", number)


def _in_turn(given: Sequence[Trace], numbers: Sequence[int]) -> list[int] | None:
    """Those traces in the order of time; None where they are not one process, one after another."""
    first = given[numbers[0]]
    if any(not _alike(first, given[number]) for number in numbers):
        return None
    spans = {number: span for number in numbers if (span := span_of(given[number]))}
    if len(spans) < len(numbers):
        return None
    ordered = sorted(numbers, key=lambda number: spans[number])
    follow = all(spans[one][1] <= spans[other][0] for one, other in pairwise(ordered))
    return ordered if follow else None


def _alike(one: Trace, other: Trace) -> bool:
    """Whether two traces may be of one process: nothing that both say of it differs."""
    said = [
        (trace.format, trace.world_size, trace.host, trace.devices, _process_of(trace))
        for trace in (one, other)
    ]
    return all(a == b or not a or not b for a, b in zip(*said, strict=True))


def _process_of(trace: Trace) -> int | None:
    """The process that did most on the host."""
    host = trace.events.filter(pl.col("kind").is_in(list(_OF_HOST)))
    counted = host["process"].drop_nulls().value_counts(sort=True)
    return int(counted["process"][0]) if counted.height else None


def _joined(cycles: Sequence[Trace]) -> Trace:
    """One trace of all cycles, on the clock of the first."""
    first = cycles[0]
    events = pl.concat(
        each.events.with_columns(pl.col("start_ns") + (each.origin_ns - first.origin_ns))
        for each in cycles
    )
    doubts = tuple(dict.fromkeys(doubt for each in cycles for doubt in each.doubts))
    return replace(first, events=events.sort("start_ns", maintain_order=True), doubts=doubts)
