"""Reading the JSON of PyTorch's profiler (Kineto), old and new, plain and gzip, whole or cut off.

The file is streamed through a scanner into columns: no object per event is ever held. Memory grows
with the columns, about 200 bytes per event, not with the text.
"""

from pathlib import Path

from topout.errors import CompilerError, InputError
from topout.kernels.trace_ops import NativeScan, scan_library
from topout.progress import Notify
from topout.trace.readers.file_text import FileText
from topout.trace.readers.kineto_metadata import Metadata, host_in_name, metadata_of, rank_in_name
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.readers.kineto_table import FIELDS, Columns, Scan, Table, table_of
from topout.trace.table import Trace

_REMEDY = "Give a trace that torch.profiler exported (export_chrome_trace)."


def read_kineto(path: Path, notify: Notify | None = None) -> Trace:
    """The trace in a JSON file of PyTorch's profiler, or of another that writes Chrome's format.

    Times are exact nanoseconds from `Trace.origin_ns`. What was cut off, mended or left out is
    told in `Trace.doubts`. Raises InputError where the file cannot be read or is no trace.
    """
    path = Path(path)
    with FileText(path) as text:
        scan = new_scan()
        try:
            for piece in text:
                scan.feed(piece.data)
                if notify is not None:
                    notify(f"reading {path.name}", piece.fraction)
            scan.finish()
            if (found := _found_instead(text, scan)) is not None:
                raise InputError(f"{path} is not a trace: {found}.", _REMEDY)
            return _trace_of(path, text, scan)
        finally:
            scan.close()


def new_scan() -> Scan:
    """A scan in C++, or in Python where nothing can be compiled."""
    try:
        scan_library()
    except CompilerError:
        return PythonScan(FIELDS)
    return NativeScan(FIELDS)


def _trace_of(path: Path, text: FileText, scan: Scan) -> Trace:
    metadata = metadata_of(scan.members())
    about_file = [*_about_the_end(scan, text), *_about_events(scan)]  # before columns are taken
    table = table_of(Columns(scan), metadata.group_sizes)
    ranks = (metadata.rank, table.rank, rank_in_name(path))
    return Trace(
        path=path,
        format="kineto",
        events=table.events,
        rank=next((rank for rank in ranks if rank is not None), None),
        world_size=metadata.world_size,
        backend=metadata.backend,
        host=metadata.host or host_in_name(path),
        origin_ns=metadata.origin_ns or 0,
        devices=metadata.devices,
        versions=metadata.versions,
        doubts=(*about_file, *_about_the_rest(text, metadata, table)),
    )


def _found_instead(text: FileText, scan: Scan) -> str | None:
    """What a file that is no trace holds; None for a trace."""
    if not text.text_bytes:
        return text.trouble or "it is empty"
    if scan.stage == "start":
        return f"it holds {'NUL bytes' if text.null_bytes else 'white space'} alone"
    if scan.stage == "foreign":
        return "it is not a JSON object or array"
    if not scan.has_events:
        keys = ", ".join(repr(key.decode(errors="replace")) for key, _ in scan.members()[:5])
        end = "" if scan.stage == "done" else ", and is cut off"
        return f'it has no array "traceEvents" (it has {keys or "no keys"}{end})'
    counts = scan.counts
    if counts["entries"] and counts["entries"] == counts["unreadable"] + counts["unphased"]:
        return f"none of its {counts['entries']} entries is an event"
    return None


def _about_the_end(scan: Scan, text: FileText) -> list[str]:
    read = f"the {scan.counts['entries']} entries before that were read"
    if text.trouble:
        return [f"The file is incomplete: {text.trouble}; {read}."]
    if scan.stage == "broken":
        return [f"The JSON is not readable behind byte {scan.read_bytes}; {read}."]
    if scan.stage != "done":
        return [f"The file is cut off in the middle of its JSON; {read}."]
    return []


def _about_events(scan: Scan) -> list[str]:
    """What was left out, with how often."""
    reasons = {
        "unreadable": "entries are not readable JSON objects: left out.",
        "too_long": "entries are longer than 16 MiB: left out.",
        "unphased": 'entries have no phase ("ph"): left out.',
        "untimed": "events have no time: left out.",
        "paired": "begins and ends of events were written apart: left out.",
    }
    counts = {str(name): number for name, number in scan.counts.items()}
    doubts = [f"{counts[name]} {why}" for name, why in reasons.items() if counts[name]]
    if not scan.rows:
        doubts.append("The trace holds no events.")
    return doubts


def _about_the_rest(text: FileText, metadata: Metadata, table: Table) -> list[str]:
    doubts = []
    if text.null_bytes:
        doubts.append(f"{text.null_bytes} NUL bytes in the file: read as spaces.")
    if metadata.unreadable:
        doubts.append(f"Not readable and left out: {', '.join(metadata.unreadable)}.")
    if table.negative_durations:
        doubts.append(f"{table.negative_durations} events had negative durations: taken as 0.")
    if table.damaged_texts:
        doubts.append(f"{table.damaged_texts} names hold bytes that are not UTF-8: shown as �.")
    return doubts
