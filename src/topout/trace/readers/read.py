"""Reading traces of any known format: one file, many, or folders with one file per rank."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from topout.errors import InputError
from topout.input_file import is_there
from topout.progress import Notify
from topout.trace.graph_launches import with_graph_launches
from topout.trace.plausible import plausible
from topout.trace.readers.file_text import Head, head_of, text_of
from topout.trace.readers.kineto import rank_in_name, read_kineto
from topout.trace.readers.known_others import refuse_known_others
from topout.trace.readers.memory_budget import Hold, MemoryBudget, MemoryNeededError
from topout.trace.readers.nsys_json import read_nsys_json
from topout.trace.readers.nsys_sqlite import read_nsys_sqlite
from topout.trace.readers.profiler_csv import (
    CALLS_ALONE,
    read_nsys_csv,
    read_nvprof,
    read_rocprof_csv,
)
from topout.trace.readers.rocprofv3_json import read_rocprofv3_json
from topout.trace.table import Trace, TraceFormat

_SQLITE_MAGIC = b"SQLite format 3\0"
# Headers of tables; other locales separate by semicolons.
_NSYS = re.compile(
    r'^"?(?:Start|Time|Total Time|Duration|Start Time) ?'
    r"(?:\((?:[num]?s(?:ec)?|%)\)|:(?:ts|dur)_)",
    re.MULTILINE,
)
_NSYS_BANNER = re.compile(r"^ \*\* .+ \(\w+\):|^Processing \[", re.MULTILINE)
_NVPROF = re.compile(
    r'^"?(?:Start"?[,;]\s*"?Duration|Type"?[,;]\s*"?Time\(%\)|Time\(%\)"?[,;])', re.M
)
_NVPROF_BANNER = re.compile(r"^(?:==\d+==|========) ", re.MULTILINE)
_ROCPROF = re.compile(
    r'^"?(?:Guid|Kind|Domain)"?,.*"?Start_Timestamp|^"?Index"?,.*"?BeginNs|'
    r'^"?Name"?,"?Calls"?,"?TotalDurationNs',
    re.MULTILINE,
)
_ROCPROF_JSON = re.compile(r'"rocprofiler-sdk-tool"\s*:')
# A line for each event, then one or many of strings, or the strings first.
_NSYS_JSON = re.compile(
    r'\A\s*\{"(data"\s*:\s*\[|[Tt]ype")|^\{[^\n]{0,60}"\w+Event"\s*:\s*\{', re.MULTILINE
)
# Of rocprofv3, which writes a file for each kind of event.
_ROCPROF_PART = re.compile(r"(.*?)_?[a-z]+(?:_[a-z]+)?_(?:trace|stats)\.csv(?:\.gz)?")
_REMEDY = (
    "Give JSON of the profilers of PyTorch or JAX, CSV of nvprof, CSV or JSON of rocprof, or CSV, "
    "JSON or SQLite of Nsight Systems (`nsys export --type sqlite`)."
)


def format_of(path: Path) -> TraceFormat:
    """The format of a trace file, gzip or not, by its first 64 KiB.

    JSON of any other kind is taken for Kineto's, whose reader looks closer. Raises InputError for a
    file that cannot be read, is empty, of no known format, or of a known one without times.
    """
    head = head_of(path)
    if head.data.startswith(_SQLITE_MAGIC):
        return "nsys_sqlite"
    text = text_of(head.data)
    if not text.strip():
        raise InputError(f"{path} is not a trace: {_emptiness(head)}.", _REMEDY)
    refuse_known_others(path, text)
    if text.lstrip()[0] in "{[":
        return _json_format(text)
    if _NSYS.search(text) or _NSYS_BANNER.search(text):
        return "nsys_csv"
    if _ROCPROF.search(text):
        return "rocprof_csv"
    if _NVPROF.search(text) or _NVPROF_BANNER.search(text):
        return "nvprof_csv"
    raise InputError(f"{path} is not a trace: {_described(text)}.", _REMEDY)


def _json_format(text: str) -> TraceFormat:
    if _ROCPROF_JSON.search(text):
        return "rocprofv3_json"
    if '"traceEvents"' not in text and _NSYS_JSON.search(text):
        return "nsys_json"
    return "kineto"


def _emptiness(head: Head) -> str:
    if not head.data:
        return head.trouble or "it is empty"
    return (
        "it holds NUL bytes alone" if not head.data.strip(b"\0") else "it holds white space alone"
    )


def _described(text: str) -> str:
    line = text.strip().splitlines()[0][:60]
    return f"it begins with {line!r}" if line.isprintable() else "it is binary, of an unknown kind"


_READERS: dict[TraceFormat, Callable[[Path, Notify | None, Hold], Trace]] = {
    "kineto": read_kineto,
    "nvprof_csv": read_nvprof,
    "nsys_csv": read_nsys_csv,
    "nsys_sqlite": read_nsys_sqlite,
    "nsys_json": read_nsys_json,
    "rocprof_csv": read_rocprof_csv,
    "rocprofv3_json": read_rocprofv3_json,
}


class _Found(NamedTuple):
    """A file, and whether it was named itself: then it must be a trace."""

    path: Path
    was_named: bool


def read_trace(path: Path, notify: Notify | None = None, hold: Hold | None = None) -> Trace:
    """The trace in a file, whose format is recognised from its content, as it can have been.

    Raises InputError for a file that cannot be read or is no trace, and what `hold` raises: by
    default where its events need more than half of the memory that is free.
    """
    path = Path(path)
    reader = _READERS[format_of(path)]
    trace = plausible(reader(path, notify, hold or MemoryBudget().of(path)))
    if trace.rank is None:  # most profilers know of no ranks; who starts them names the files
        trace = replace(trace, rank=rank_in_name(path))
    return with_graph_launches(trace)


def read_traces(
    paths: Sequence[Path], notify: Notify | None = None, max_memory_bytes: int | None = None
) -> list[Trace]:
    """The traces in files and in folders of ranks, by rank, several at a time.

    Files in folders that are no traces are left out, and named in the doubts of the first trace.
    Raises InputError where a path that is named itself is no trace, or a folder has none, and where
    their events need more than `max_memory_bytes`, by default half of what is free.
    """
    found = _files_of([Path(path) for path in paths])
    outcomes = _read_all(found, notify, MemoryBudget(max_memory_bytes))
    traces = _joined([outcome for outcome in outcomes if isinstance(outcome, Trace)])
    skipped = [
        each.path
        for each, outcome in zip(found, outcomes, strict=True)
        if isinstance(outcome, InputError)
    ]
    if not traces:
        raise InputError(
            f"none of the {len(skipped)} files in {', '.join(map(str, paths))} is a trace "
            f"({_listed([path.name for path in skipped])}).",
            "Give the folder that the profiler wrote its traces to.",
        )
    traces.sort(key=lambda trace: (trace.rank is None, trace.rank or 0))
    if skipped:
        doubt = f"Not traces, left out: {_listed([str(path) for path in skipped])}."
        traces[0] = replace(traces[0], doubts=(*traces[0].doubts, doubt))
    return traces


def _joined(traces: Sequence[Trace]) -> list[Trace]:
    """The traces, with what rocprofv3 wrote of one process in several files put together."""
    of_process: dict[tuple[Path, str | None], list[Trace]] = {}
    for trace in traces:
        found = _ROCPROF_PART.fullmatch(trace.path.name) if trace.format == "rocprof_csv" else None
        key = (trace.path.parent, found[1]) if found else (trace.path, None)
        of_process.setdefault(key, []).append(trace)
    return [_one_of(parts) for parts in of_process.values()]


def _one_of(parts: Sequence[Trace]) -> Trace:
    """The events of all parts; sums of them, which rocprofv3 writes too, are left out."""
    timed = [trace for trace in parts if trace.timed]
    used = sorted(timed or parts, key=lambda trace: not trace.devices)
    if len(used) == 1:
        return used[0]
    events = pl.concat([trace.events for trace in used]).sort("start_ns", maintain_order=True)
    devices = {device.number: device for trace in used for device in trace.devices}
    doubts = [
        doubt for trace in used for doubt in trace.doubts if doubt != CALLS_ALONE or not devices
    ]
    return replace(
        used[0],
        events=events,
        holds_copies=any(trace.holds_copies for trace in used),
        devices=tuple(devices[number] for number in sorted(devices)),
        doubts=tuple(dict.fromkeys(doubts)),
    )


def _files_of(paths: Sequence[Path]) -> list[_Found]:
    """All files of `paths`, each once, folders with what they hold in the order of numbers.

    Hidden files and folders are passed over. Raises InputError for a path that is not there, for
    an empty folder, and where no path is given.
    """
    if not paths:
        raise InputError("no trace is given.", "Name files, or folders with one file per rank.")
    found: dict[Path, _Found] = {}
    for path in paths:
        for each in _files_at(path):
            place = each.path.resolve()
            if place not in found or each.was_named:
                found[place] = each
    return list(found.values())


def _files_at(path: Path) -> list[_Found]:
    if not is_there(path):
        raise InputError(f"{path} does not exist.", "Give a trace file, or a folder of them.")
    if not path.is_dir():
        return [_Found(path, was_named=True)]
    found = [_Found(each, was_named=False) for each in sorted(_inside(path), key=_by_number)]
    if not found:
        raise InputError(f"{path} is empty.", "Give the folder that the profiler wrote to.")
    return found


def _inside(folder: Path) -> Iterator[Path]:
    try:
        for path in folder.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if not hidden and path.is_file():
                yield path
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror or error}.", "Give a folder you may read."
        ) from None


def _by_number(path: Path) -> list[tuple[int, str]]:
    """rank2 before rank10."""
    return [
        (int(part), "") if part.isdigit() and part.isascii() else (-1, part)
        for part in re.split(r"([0-9]{1,18})", str(path))
    ]


def _read_all(
    found: Sequence[_Found], notify: Notify | None, budget: MemoryBudget
) -> list[Trace | InputError]:
    """Each file's trace, or why it is none where a folder held it.

    Threads suffice: scanning, inflating and the work on columns run without the interpreter's lock.
    """
    progress = _Progress([path.stat().st_size for path, _ in found], notify)

    def read_one(number: int) -> Trace | InputError:
        path, was_named = found[number]
        try:
            return read_trace(path, progress.of(number), budget.of(path))
        except InputError as error:
            if was_named or isinstance(error, MemoryNeededError):
                raise
            return error

    with ThreadPoolExecutor(max(1, min(len(found), os.cpu_count() or 1))) as pool:
        try:
            return list(pool.map(read_one, range(len(found))))
        except BaseException:
            progress.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Progress:
    """How much of all files together was read, by bytes."""

    def __init__(self, sizes: Sequence[int], notify: Notify | None) -> None:
        self._sizes = sizes
        self._total = max(1, sum(sizes))
        self._done = [0.0] * len(sizes)
        self._notify = notify
        self._lock = threading.Lock()
        self._is_stopped = False

    def of(self, number: int) -> Notify:
        """What the reader of one file calls; ends the reading where all of it was given up."""

        def notify(what: str, fraction: float) -> None:
            with self._lock:
                if self._is_stopped:
                    raise KeyboardInterrupt
                self._done[number] = max(self._done[number], fraction * self._sizes[number])
                if self._notify is not None:
                    self._notify(what, min(1.0, sum(self._done) / self._total))

        return notify

    def stop(self) -> None:
        self._is_stopped = True


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
