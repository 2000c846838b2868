"""The steps of a training or inference loop, as the profiler marked them on the host."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from topout.trace.analysis.device_work import DeviceWork
from topout.trace.analysis.launches import UNKNOWN, Launches
from topout.trace.table import Trace, matching_names

_STEP_NAME = r"^ProfilerStep"  # torch.profiler's own mark: "ProfilerStep#7"


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
