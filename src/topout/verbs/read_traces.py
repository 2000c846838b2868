"""`topout trace`: where the time goes in traces recorded elsewhere, and what got slower."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from topout.errors import InputError
from topout.options import takes
from topout.progress import Notify
from topout.records import Record, TraceDiff, TraceReport
from topout.run_folder import RunFolder
from topout.trace.analysis.diff_ranks import diff_ranks
from topout.trace.analysis.groups import Rules, load_rules
from topout.trace.analysis.report import analyse
from topout.trace.readers.read import read_traces
from topout.trace.request import DiffRequest, RulesRequest, TraceRequest

COARSE_RULES = "coarse_groups"
_READING = 0.8  # of the whole time, as the progress bar shows it

R = TypeVar("R", bound=Record)


@takes(TraceRequest)
def report_trace(
    request: TraceRequest, *, notify: Notify | None = None
) -> tuple[TraceReport, RunFolder]:
    """Where the time goes in trace files, or folders with one file for each rank.

    Returns the record and the folder that it was written to. Raises InputError for a path that does
    not exist or is no trace, a rules file that cannot be used, and traces that do not belong
    together; OutputError when the record cannot be written.
    """
    tell = notify or (lambda what, done: None)
    began = time.monotonic()
    chosen = chosen_rules(request)
    places = existing(request.paths)
    folder = RunFolder.create("trace", subject_of(places))

    def report() -> TraceReport:
        traces = read_traces(places, part_of(tell, 0.0, _READING))
        found = analyse(traces, chosen, part_of(tell, _READING, 1.0))
        return msgspec.structs.replace(found, elapsed_s=time.monotonic() - began)

    return written(folder, report), folder


@takes(DiffRequest)
def diff_traces(
    request: DiffRequest, *, notify: Notify | None = None
) -> tuple[TraceDiff, RunFolder]:
    """What got slower from one trace, or folder of ranks, to another: per group and per kernel.

    Returns the record and the folder that it was written to; raises as `report_trace` does.
    """
    tell = notify or (lambda what, done: None)
    chosen = chosen_rules(request)
    places = existing([request.before, request.after])
    folder = RunFolder.create("trace", f"diff-{subject_of(places[:1])}-{subject_of(places[1:])}")

    def compare() -> TraceDiff:
        first = read_traces(places[:1], part_of(tell, 0.0, _READING / 2))
        second = read_traces(places[1:], part_of(tell, _READING / 2, _READING))
        tell("compare the two", _READING)
        return diff_ranks(first, second, chosen)

    return written(folder, compare), folder


def written(folder: RunFolder, make: Callable[[], R]) -> R:
    """The record that `make` returns, saved; where it fails or is interrupted, no folder stays."""
    try:
        record = make()
        folder.save(record)
    finally:
        folder.clean()
        folder.discard_if_empty()
    return record


def existing(paths: Sequence[str | Path]) -> list[Path]:
    """The paths, each of which is there; raises InputError for none and for a missing one."""
    if not paths:
        raise InputError("no trace is named.", "Name files or folders: topout trace trace.json.gz")
    places = [Path(path) for path in paths]
    for place in places:
        if not place.exists():
            remedy = "Check the path."
            if place.name == "diff":
                remedy = "To compare two traces say: topout trace diff BEFORE AFTER"
            if place.name == "runs":
                remedy = "To compare runs say: topout trace runs RUN RUN..."
            raise InputError(f"there is no file or folder {str(place)!r}.", remedy)
    return places


def subject_of(paths: Sequence[Path]) -> str:
    """The name of a run: that of its first trace without the endings."""
    name = paths[0].resolve().name
    for ending in (".gz", ".json", ".csv", ".sqlite", ".pt.trace"):
        name = name.removesuffix(ending)
    return name or "trace"


def part_of(tell: Notify, begin: float, end: float) -> Notify:
    """A callable for one part of the work, whose 0 to 1 are `begin` to `end` of the whole."""
    return lambda what, done: tell(what, begin + (end - begin) * min(1.0, max(0.0, done)))


def chosen_rules(request: RulesRequest) -> Rules:
    """The shipped rules of this detail, with a user's own before them, or in their place.

    Raises InputError for a file that cannot be used.
    """
    shipped = "kernel_groups" if request.groups == "fine" else COARSE_RULES
    return load_rules(Path(request.rules) if request.rules is not None else None, shipped)
