"""Reading traces of any known format: one file, many, or folders with one file per rank."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from topout.errors import InputError
from topout.progress import Notify
from topout.trace.readers.detect_format import format_of
from topout.trace.readers.read_files import Found, files_of
from topout.trace.readers.read_job import doubts_of_job
from topout.trace.table import Trace, TraceFormat

Reader = Callable[[Path, Notify | None], Trace]


def read_trace(path: Path, notify: Notify | None = None) -> Trace:
    """The trace in a file, whose format is recognised from its content.

    Raises InputError for a file that cannot be read or is no trace.
    """
    path = Path(path)
    return _reader_of(format_of(path))(path, notify)


def read_traces(paths: Sequence[Path], notify: Notify | None = None) -> list[Trace]:
    """The traces in files and in folders of ranks, by rank, several at a time.

    Files in folders that are no traces are left out, and named in the doubts of the first trace,
    as is what does not fit together: ranks that are missing or double, other jobs, other clocks.
    Raises InputError where a path that is named itself is no trace, or a folder has none.
    """
    found = files_of([Path(path) for path in paths])
    outcomes = _read_all(found, notify)
    traces = [outcome for outcome in outcomes if isinstance(outcome, Trace)]
    skipped = [
        (path, outcome)
        for (path, _), outcome in zip(found, outcomes, strict=True)
        if isinstance(outcome, InputError)
    ]
    if not traces:
        raise InputError(
            f"none of the {len(skipped)} files in {', '.join(map(str, paths))} is a trace "
            f"({_listed([path.name for path, _ in skipped])}).",
            "Give the folder that the profiler wrote its traces to.",
        )
    traces.sort(key=lambda trace: (trace.rank is None, trace.rank or 0))
    doubts = doubts_of_job(traces)
    if skipped:
        doubts.append(f"Not traces, left out: {_listed([str(path) for path, _ in skipped])}.")
    traces[0] = replace(traces[0], doubts=(*traces[0].doubts, *doubts))
    return traces


def _reader_of(format: TraceFormat) -> Reader:
    if format == "kineto":
        from topout.trace.readers.kineto import read_kineto

        return read_kineto
    if format == "nvprof_csv":
        from topout.trace.readers.nvprof import read_nvprof

        return read_nvprof
    if format == "nsys_csv":
        from topout.trace.readers.nsys_csv import read_nsys_csv

        return read_nsys_csv
    from topout.trace.readers.nsys_sqlite import read_nsys_sqlite

    return read_nsys_sqlite


def _read_all(found: Sequence[Found], notify: Notify | None) -> list[Trace | InputError]:
    """Each file's trace, or why it is none where a folder held it.

    Threads suffice: scanning, inflating and the work on columns run without the interpreter's lock.
    """
    progress = _Progress([path.stat().st_size for path, _ in found], notify)

    def read_one(number: int) -> Trace | InputError:
        path, was_named = found[number]
        try:
            return read_trace(path, progress.of(number))
        except InputError as error:
            if was_named:
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
