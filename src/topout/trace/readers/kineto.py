"""Reading the JSON of PyTorch's profiler (Kineto), old and new, plain and gzip, whole or cut off.

The file is streamed through a scanner into columns: no object per event is ever held. Memory grows
with the columns, about 200 bytes per event, not with the text.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from topout.errors import CompilerError, InputError
from topout.kernels.trace_ops import Field, NativeScan, scan_library
from topout.progress import Notify
from topout.trace.readers.file_text import FileText, decode, scaled_number
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.readers.kineto_table import FIELDS, Columns, Scan, Table, table_of
from topout.trace.readers.lanes import LANE_FIELDS, read_lanes
from topout.trace.readers.memory_budget import EVENT_BYTES, TEXT_FACTOR, Hold, unlimited
from topout.trace.table import Device, Trace

_REMEDY = "Give a trace that torch.profiler exported (export_chrome_trace)."
_RANK_IN_NAME = re.compile(r"(?:^|[^a-zA-Z])rank[-_.\[ ]?(\d{1,6})(?!\d)", re.IGNORECASE)
# HOST_PID.NANOSECONDS.pt.trace.json, as torch.profiler.tensorboard_trace_handler names files
_HOST_IN_NAME = re.compile(r"^(.+)_\d+\.\d+\.pt\.trace\.json")
_VERSIONS = {
    "schemaVersion": "schema",
    "cuda_runtime_version": "cuda",
    "cuda_driver_version": "cuda_driver",
    "hip_runtime_version": "hip",
    "hip_driver_version": "hip_driver",
    "cupti_version": "cupti",
    "pytorch_version": "pytorch",
    "torch_version": "pytorch",
}
_CUDA_NUMBERS = ("cuda", "cuda_driver")
_LARGEST_INT = 2**63


class Metadata(NamedTuple):
    """What is known; None and empty where the file does not say."""

    origin_ns: int | None
    host: str | None
    rank: int | None
    world_size: int | None
    backend: str | None
    group_sizes: tuple[int, ...]  # of the process groups
    devices: tuple[Device, ...]
    versions: Mapping[str, str]
    unreadable: tuple[str, ...]  # members that are not JSON


def read_kineto(path: Path, notify: Notify | None = None, hold: Hold = unlimited) -> Trace:
    """The trace in a JSON file of PyTorch's profiler, or of another that writes Chrome's format.

    Where no event has a category the file is read again, and its lanes tell whose it is.

    Times are exact nanoseconds from `Trace.origin_ns`. What was cut off, mended or left out is
    told in `Trace.doubts`. Raises InputError where the file cannot be read or is no trace, and what
    `hold` raises.
    """
    path = Path(path)
    with _Scanned(path, new_scan(), notify, hold) as (text, scan):
        if (found := _found_instead(text, scan)) is not None:
            raise InputError(f"{path} is not a trace: {found}.", _REMEDY)
        if scan.rows and not scan.has("category"):
            lanes = new_scan(LANE_FIELDS, keeps_names=True)
            with _Scanned(path, lanes, notify, hold) as (again, scan_of_lanes):
                if by_lanes := _trace_of_lanes(path, again, scan_of_lanes):
                    return by_lanes
        return _trace_of(path, text, scan)


class _Scanned(AbstractContextManager["tuple[FileText, Scan]"]):
    """A file whose text went through a scan, which is closed at the end."""

    def __init__(self, path: Path, scan: Scan, notify: Notify | None, hold: Hold) -> None:
        self._path, self._scan, self._notify, self._hold = path, scan, notify, hold

    def __enter__(self) -> tuple[FileText, Scan]:
        scan = self._scan
        try:
            with FileText(self._path) as text:
                for piece in text:
                    scan.feed(piece.data)
                    taken_bytes = scan.rows * EVENT_BYTES + scan.string_bytes * TEXT_FACTOR
                    self._hold(taken_bytes, piece.fraction)
                    if self._notify is not None:
                        self._notify(f"reading {self._path.name}", piece.fraction)
                scan.finish()
        except BaseException:
            scan.close()
            raise
        return text, scan

    def __exit__(self, *error: object) -> None:
        self._scan.close()


def new_scan(fields: Sequence[Field] = FIELDS, *, keeps_names: bool = False) -> Scan:
    """A scan in C++, or in Python where nothing can be compiled."""
    try:
        scan_library()
    except CompilerError:
        return PythonScan(fields, keeps_names=keeps_names)
    return NativeScan(fields, keeps_names=keeps_names)


def _trace_of_lanes(path: Path, text: FileText, scan: Scan) -> Trace | None:
    columns = Columns(scan)
    found = read_lanes(columns, path)
    if found is None:
        return None
    about_file = [*_about_the_end(scan, text), *_about_events(scan, found.empty_entries)]
    about_file += _about_values(text, found.negative_durations, columns.damaged_texts)
    return Trace(
        path=path,
        format=found.format,
        events=found.events,
        host=found.host,
        holds_copies=found.holds_copies,
        doubts=(*about_file, *found.doubts),
    )


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
    if scan.counts["trailing"]:
        return [
            f"Behind the end of its JSON the file goes on with {scan.counts['trailing']} bytes of "
            f"something else, as one does that was written over a longer one; {read}."
        ]
    return []


def _about_events(scan: Scan, empty_entries: int = 0) -> list[str]:
    """What was left out, with how often; `empty_entries` is how many its maker leaves empty."""
    reasons = {
        "unreadable": "entries are not readable JSON objects: left out.",
        "too_long": "entries are longer than 16 MiB: left out.",
        "unphased": 'entries have no phase ("ph"): left out.',
        "untimed": "events have no time: left out.",
        "paired": "begins and ends of events were written apart: left out.",
    }
    counts = {str(name): number for name, number in scan.counts.items()}
    counts["unphased"] = max(counts["unphased"] - empty_entries, 0)
    doubts = [f"{counts[name]} {why}" for name, why in reasons.items() if counts[name]]
    if not scan.rows:
        doubts.append("The trace holds no events.")
    return doubts


def _about_the_rest(text: FileText, metadata: Metadata, table: Table) -> list[str]:
    doubts = []
    if metadata.unreadable:
        doubts.append(f"Not readable and left out: {', '.join(metadata.unreadable)}.")
    doubts += table.uncounted
    return doubts + _about_values(text, table.negative_durations, table.damaged_texts)


def _about_values(text: FileText, negative_durations: int, damaged_texts: int) -> list[str]:
    doubts = []
    if text.null_bytes:
        doubts.append(f"{text.null_bytes} NUL bytes in the file: read as spaces.")
    if negative_durations:
        doubts.append(f"{negative_durations} events had negative durations: taken as 0.")
    if damaged_texts:
        doubts.append(f"{damaged_texts} names hold bytes that are not UTF-8: shown as �.")
    return doubts


def metadata_of(members: Sequence[tuple[bytes, bytes]]) -> Metadata:
    """Of the members of the object around the events: keys and values as they stand in the file."""
    given: dict[str, Any] = {}
    unreadable = []
    for raw_key, raw_value in members:
        key = decode(raw_key).text
        try:
            given[key] = msgspec.json.decode(raw_value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unreadable.append(key)
    job = given.get("distributedInfo")
    job = job if isinstance(job, dict) else {}
    raw_base = dict(members).get(b"baseTimeNanoseconds", b"").strip(b'"')
    return Metadata(
        origin_ns=scaled_number(raw_base, 0),
        host=_text(given.get("host_name")),
        rank=_whole(job.get("rank")),
        world_size=_whole(job.get("world_size")),
        backend=_text(job.get("backend")),
        group_sizes=_group_sizes(job.get("pg_config")),
        devices=_devices(given.get("deviceProperties")),
        versions=_versions(given, job),
        unreadable=tuple(unreadable),
    )


def rank_in_name(path: Path) -> int | None:
    """The rank that a file's name gives: "rank-34.json", "trace_rank0.json.gz"."""
    found = _RANK_IN_NAME.search(path.name)
    return int(found[1]) if found else None


def host_in_name(path: Path) -> str | None:
    """The host in the names that PyTorch's handler for TensorBoard gives."""
    found = _HOST_IN_NAME.match(path.name)
    return found[1] if found else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    """A number of 0 or more that may be written as a string."""
    if isinstance(value, str):
        value = scaled_number(value.encode(), 0)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value < _LARGEST_INT else None


def _dicts_in(value: Any) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else [value]
    return [each for each in found if isinstance(each, dict)]


def _group_sizes(groups: Any) -> tuple[int, ...]:
    sizes = (_whole(group.get("pg_size")) for group in _dicts_in(groups))
    return tuple(size for size in sizes if size is not None)


def _devices(given: Any) -> tuple[Device, ...]:
    found = {}
    for device in _dicts_in(given):
        number = _whole(device.get("id"))
        if number is None:
            continue
        major, minor = device.get("computeMajor"), device.get("computeMinor")
        found[number] = Device(
            number=number,
            name=_text(device.get("name")) or "",
            memory_bytes=_whole(device.get("totalGlobalMem")),
            multiprocessors=_whole(device.get("numSms")),
            compute_capability=None if major is None else f"{major}.{minor or 0}",
        )
    return tuple(found[number] for number in sorted(found))


def _versions(given: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, str]:
    versions = {}
    for key, name in _VERSIONS.items():
        value = given.get(key)
        if name in _CUDA_NUMBERS and (number := _whole(value)):
            versions[name] = f"{number // 1000}.{number % 1000 // 10}"  # 12060: 12.6
        elif isinstance(value, str | int | float) and value != "":
            versions[name] = str(value)
    if nccl := _text(job.get("nccl_version")):
        versions["nccl"] = nccl
    return versions
