"""`topout trace`: where the time of recorded traces goes, what got slower, and what scales."""

import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from topout.errors import InputError
from topout.input_file import is_there
from topout.options import takes
from topout.progress import Notify, part_of, silent
from topout.records import TraceDiff, TraceReport, TraceRuns
from topout.run_folder import RunFolder
from topout.trace.analysis.diff_over_ranks import diff_ranks
from topout.trace.analysis.groups import Rules, load_rules
from topout.trace.analysis.report import analyse
from topout.trace.analysis.runs import runs_side_by_side
from topout.trace.readers.read import read_traces
from topout.trace.request import DiffRequest, RulesRequest, RunsRequest, TraceRequest

_READING = 0.8  # of the whole time, as the progress bar shows it


@takes(TraceRequest)
def report_trace(
    request: TraceRequest, *, notify: Notify = silent
) -> tuple[TraceReport, RunFolder]:
    """Where the time goes in trace files, or folders with one file for each rank.

    Returns the record and the folder that it was written to. Raises InputError for a path that does
    not exist or is no trace, a rules file that cannot be used, and traces that do not belong
    together; OutputError when the record cannot be written.
    """
    began = time.monotonic()
    rules = chosen_rules(request)
    places = _existing(request.paths)
    with RunFolder.create("trace", subject_of(places[0])) as folder:
        found = _read_and_analyse(places, rules, notify, request.max_memory_bytes)
        report = replace(found, elapsed_s=time.monotonic() - began)
        folder.save(report)
    return report, folder


@takes(DiffRequest)
def diff_traces(request: DiffRequest, *, notify: Notify = silent) -> tuple[TraceDiff, RunFolder]:
    """What got slower from one trace, or folder of ranks, to another: per group and per kernel.

    Returns the record and the folder that it was written to; raises as `report_trace` does.
    """
    rules = chosen_rules(request)
    before, after = _existing([request.before, request.after])
    name = f"diff-{subject_of(before)}-{subject_of(after)}"
    with RunFolder.create("trace", name) as folder:
        most = request.max_memory_bytes
        first = read_traces([before], part_of(notify, 0.0, _READING / 2), most)
        second = read_traces([after], part_of(notify, _READING / 2, _READING), most)
        notify("compare the two", _READING)
        diff = diff_ranks(first, second, rules)
        folder.save(diff)
    return diff, folder


@takes(RunsRequest)
def compare_runs(request: RunsRequest, *, notify: Notify = silent) -> tuple[TraceRuns, RunFolder]:
    """How a program scales over runs on more and more devices, one file or folder for each run.

    The runs are put in the order of their devices; a speedup is claimed only where they hold the
    same work. Returns the record and the folder that it was written to. Raises InputError for
    a run that is named twice, and as `report_trace` does.
    """
    began = time.monotonic()
    rules = chosen_rules(request)
    places = _existing(request.paths)
    _refuse_twins(places)
    names = _names_of(places)
    with RunFolder.create("trace", f"runs-{names[0]}-{names[-1]}") as folder:
        # One run after the other, so that the events of one at a time are in memory.
        reports = []
        for number, place in enumerate(places):
            tell = part_of(notify, number / len(places), (number + 1) / len(places))
            reports.append(_read_and_analyse([place], rules, tell, request.max_memory_bytes))
        made = runs_side_by_side(list(zip(names, reports, strict=True)))
        runs = replace(made, elapsed_s=time.monotonic() - began)
        folder.save(runs)
    return runs, folder


def _read_and_analyse(
    places: Sequence[Path], rules: Rules, notify: Notify, max_memory_bytes: int | None
) -> TraceReport:
    traces = read_traces(places, part_of(notify, 0.0, _READING), max_memory_bytes)
    return analyse(traces, rules, part_of(notify, _READING, 1.0))


def chosen_rules(request: RulesRequest) -> Rules:
    """The shipped rules of this detail, with a user's own before them, or in their place."""
    shipped = "kernel_groups" if request.groups == "fine" else "coarse_groups"
    return load_rules(Path(request.rules) if request.rules is not None else None, shipped)


def _existing(paths: Sequence[str | Path]) -> list[Path]:
    """The paths, each of which is there; raises InputError for none and for a missing one."""
    if not paths:
        raise InputError("no trace is named.", "Name files or folders: topout trace trace.json.gz")
    places = [Path(path) for path in paths]
    remedies = {
        "diff": "To compare two traces say: topout trace diff BEFORE AFTER",
        "runs": "To compare runs say: topout trace runs RUN RUN...",
    }
    for place in places:
        if not is_there(place):
            remedy = remedies.get(place.name, "Check the path.")
            raise InputError(f"there is no file or folder {str(place)!r}.", remedy)
    return places


def subject_of(path: Path) -> str:
    """The name of a run: that of its trace without the endings."""
    name = path.resolve().name
    for ending in (".gz", ".json", ".csv", ".sqlite", ".pt.trace"):
        name = name.removesuffix(ending)
    return name or "trace"


def _refuse_twins(places: Sequence[Path]) -> None:
    seen = [place.resolve() for place in places]
    for place, path in zip(places, seen, strict=True):
        if seen.count(path) > 1:
            raise InputError(f"{str(place)!r} is named twice.", "Name each run once.")


def _names_of(places: Sequence[Path]) -> list[str]:
    """A name for each run that no other has: of its file or folder, else its path, numbered."""
    names = [subject_of(place) for place in places]
    if len(set(names)) < len(names):
        names = [f"{place.resolve().parent.name}-{subject_of(place)}" for place in places]
    if len(set(names)) < len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    return names
