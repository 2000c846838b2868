"""A captured run read, cut into phases and put into the record."""

from pathlib import Path

import msgspec
import polars as pl

from topout.profiling.costs import Costs, costs_of
from topout.profiling.memory import memory_tracks
from topout.profiling.phases import Recorded, Timed, profile_phases
from topout.profiling.runs import CapturedRun
from topout.records import Count, Hardware, MemoryTrack, PeakDtype, ProfileReport
from topout.trace.capture import PHASE_PREFIX
from topout.trace.readers.kineto import read_kineto
from topout.trace.table import Trace


class Captured(msgspec.Struct, frozen=True):
    """A captured run, the runs beside it, and what it is measured against."""

    path: Path
    run: CapturedRun
    timed: Timed
    count: Count | None
    hardware: Hardware | None
    dtype: PeakDtype


def fill_in(
    report: ProfileReport, captured: Captured, wanted: list[str] | None = None
) -> ProfileReport:
    """`report` with its phases (of `wanted` alone) and memory; raises as `read_kineto` does."""
    trace = read_kineto(captured.path)
    recorded = Recorded(
        trace=trace,
        marks=captured.run.marks,
        types=captured.run.types,
        costs=_costs(trace, captured.count),
        hardware=captured.hardware,
        dtype=captured.dtype,
    )
    return msgspec.structs.replace(
        report,
        phases=profile_phases(recorded, captured.timed, wanted),
        memory=_memory(trace, captured),
    )


def _costs(trace: Trace, count: Count | None) -> Costs | None:
    if count is None:
        return None
    operators = trace.events.filter(trace.events["kind"] == "cpu_op")["name"]
    return costs_of([count], sorted(set(operators.cast(pl.String).to_list())))


def _memory(trace: Trace, captured: Captured) -> list[MemoryTrack]:
    """Times from the beginning of the first phase."""
    names = trace.events["name"].cast(pl.String)
    is_phase = (trace.events["kind"] == "annotation") & names.str.starts_with(PHASE_PREFIX)
    begins = trace.events.filter(is_phase)["start_ns"]
    begin_ns = int(begins[0]) if begins.len() else 0
    return memory_tracks(trace, captured.run.marks, begin_ns)
