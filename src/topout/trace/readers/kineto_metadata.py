"""What a Kineto trace says of the machine and the job, beside its events."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from topout.trace.readers.json_text import decode, scaled_number
from topout.trace.table import Device

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
