"""Reading the JSON of PyTorch's profiler (Kineto), old and new, plain and gzip, whole or cut off.

The file is streamed through a scanner into columns: no object per event is ever held. Memory grows
with the columns, about 200 bytes per event, not with the text.
"""

from pathlib import Path

from topout.errors import CompilerError, InputError
from topout.kernels.trace_ops import NativeScan, scan_library
from topout.progress import Notify
from topout.trace.readers.kineto_columns import Columns, Scan
from topout.trace.readers.kineto_doubts import doubts_of
from topout.trace.readers.kineto_fields import FIELDS
from topout.trace.readers.kineto_metadata import host_in_name, metadata_of, rank_in_name
from topout.trace.readers.kineto_pieces import Pieces
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.readers.kineto_table import table_of
from topout.trace.table import Trace

_REMEDY = "Give a trace that torch.profiler exported (export_chrome_trace)."


def read_kineto(path: Path, notify: Notify | None = None) -> Trace:
    """The trace in a JSON file of PyTorch's profiler, or of another that writes Chrome's format.

    Times are exact nanoseconds from `Trace.origin_ns`. What was cut off, mended or left out is
    told in `Trace.doubts`. Raises InputError where the file cannot be read or is no trace.
    """
    path = Path(path)
    with Pieces(path) as pieces:
        scan = new_scan()
        try:
            for piece in pieces:
                scan.feed(piece.data)
                if notify is not None:
                    notify(f"reading {path.name}", piece.fraction)
            scan.finish()
            _refuse_what_is_no_trace(path, pieces, scan)
            return _trace_of(path, pieces, scan)
        finally:
            scan.close()


def new_scan() -> Scan:
    """A scan in C++, or in Python where nothing can be compiled."""
    try:
        scan_library()
    except CompilerError:
        return PythonScan(FIELDS)
    return NativeScan(FIELDS)


def _trace_of(path: Path, pieces: Pieces, scan: Scan) -> Trace:
    metadata = metadata_of(scan.members())
    doubts = doubts_of(scan, pieces, metadata)
    table = table_of(Columns(scan), metadata.group_sizes)
    if table.negative_durations:
        doubts.append(f"{table.negative_durations} events had negative durations: taken as 0.")
    if table.damaged_texts:
        doubts.append(f"{table.damaged_texts} names hold bytes that are not UTF-8: shown as �.")
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
        doubts=tuple(doubts),
    )


def _refuse_what_is_no_trace(path: Path, pieces: Pieces, scan: Scan) -> None:
    if (found := _found_instead(pieces, scan)) is not None:
        raise InputError(f"{path} is not a trace: {found}.", _REMEDY)


def _found_instead(pieces: Pieces, scan: Scan) -> str | None:
    """What a file that is no trace holds; None for a trace."""
    if not pieces.text_bytes:
        return pieces.trouble or "it is empty"
    if scan.stage == "start":
        return f"it holds {'NUL bytes' if pieces.null_bytes else 'white space'} alone"
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
