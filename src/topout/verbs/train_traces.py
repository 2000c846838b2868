"""The traces of a training case: what its collectives sent, and how busy its GPUs were."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from topout.errors import TopoutError
from topout.progress import Notify
from topout.records import Communication, TrainCase

if TYPE_CHECKING:
    from topout.trace.table import Trace

_GRADIENTS = "all_reduce"


def with_traces(
    case: TrainCase, folder: Path, profiled_steps: int, notify: Notify | None = None
) -> TrainCase:
    """`case` with what its traces hold; a trace that cannot be read becomes a reason.

    `folder` is the run's.
    """
    if case.trace_folder is None:
        return _without(case, "no step was profiled; give --profile-steps 3")
    if case.ranks == 1 and case.times[0].peak_device_bytes is None:
        return _without(case, "one rank has nobody to talk to")
    from topout.trace.analysis.communication import communication_of
    from topout.trace.readers.read import read_traces

    try:
        traces = read_traces([folder / case.trace_folder], notify)
        case = _with_utilization(case, traces)
        if case.ranks == 1:
            return _without(case, "one rank has nobody to talk to")
        communication = communication_of(traces)
    except TopoutError as error:
        return _without(case, str(error))
    return msgspec.structs.replace(
        case,
        communication=communication,
        collective_bytes_per_step=bytes_per_step(communication, profiled_steps),
    )


def _with_utilization(case: TrainCase, traces: "Sequence[Trace]") -> TrainCase:
    """With the share of the profiled steps in which each rank's GPU did anything."""
    from topout.trace.analysis.breakdown import break_down
    from topout.trace.analysis.groups import load_rules

    rules = load_rules(None)
    busy = {
        trace.rank or 0: [
            each.utilization for each in break_down(trace, rules) if each.utilization is not None
        ]
        for trace in traces
        if trace.device_numbers
    }
    times = [
        msgspec.structs.replace(time, device_utilization=max(busy[time.rank]))
        if busy.get(time.rank)
        else time
        for time in case.times
    ]
    return msgspec.structs.replace(case, times=times)


def bytes_per_step(communication: Communication, steps: int) -> float | None:
    """Bytes that one rank put into the sums of gradients of a step; None where none are known."""
    sizes = [each.bytes for each in communication.collectives if each.name == _GRADIENTS]
    known = [size for size in sizes if size is not None]
    return sum(known) / steps if known else None


def _without(case: TrainCase, reason: str) -> TrainCase:
    return msgspec.structs.replace(case, reasons={**case.reasons, "communication": reason})
