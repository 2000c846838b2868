"""`topout trace runs`: does it scale, and what eats the gain?"""

import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from topout.errors import InputError
from topout.options import takes
from topout.progress import Notify
from topout.records import TraceReport, TraceRuns
from topout.run_folder import RunFolder
from topout.trace.analysis.report import analyse
from topout.trace.analysis.runs import runs_side_by_side
from topout.trace.readers.read import read_traces
from topout.trace.request import RunsRequest
from topout.verbs.read_traces import (
    chosen_rules,
    existing,
    part_of,
    subject_of,
    written,
)

_READING = 0.8  # of a run's time, as the progress bar shows it


@takes(RunsRequest)
def compare_runs(
    request: RunsRequest, *, notify: Notify | None = None
) -> tuple[TraceRuns, RunFolder]:
    """How a program scales over runs on more and more devices, one file or folder for each run.

    The runs are put in the order of their devices; a speedup is claimed only where they hold the
    same work. Returns the record and the folder that it was written to. Raises InputError for
    a run that is named twice, and as `report_trace` does.
    """
    tell = notify or (lambda what, done: None)
    began = time.monotonic()
    chosen = chosen_rules(request)
    places = existing(request.paths)
    _refuse_twins(places)
    names = _names_of(places)
    folder = RunFolder.create("trace", f"runs-{names[0]}-{names[-1]}")

    def one(number: int) -> TraceReport:
        begin, end = number / len(places), (number + 1) / len(places)
        read = begin + (end - begin) * _READING
        traces = read_traces([places[number]], part_of(tell, begin, read))
        return analyse(traces, chosen, part_of(tell, read, end))

    def compare() -> TraceRuns:
        # One run after the other, so that the events of one at a time are in memory.
        made = runs_side_by_side([(name, one(number)) for number, name in enumerate(names)])
        return replace(made, elapsed_s=time.monotonic() - began)

    return written(folder, compare), folder


def _refuse_twins(places: Sequence[Path]) -> None:
    seen = [place.resolve() for place in places]
    for place, path in zip(places, seen, strict=True):
        if seen.count(path) > 1:
            raise InputError(f"{str(place)!r} is named twice.", "Name each run once.")


def _names_of(places: Sequence[Path]) -> list[str]:
    """A name for each run that no other has: of its file or folder, else its path, numbered."""
    names = [subject_of([place]) for place in places]
    if len(set(names)) < len(names):
        names = [f"{place.resolve().parent.name}-{subject_of([place])}" for place in places]
    if len(set(names)) < len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    return names
