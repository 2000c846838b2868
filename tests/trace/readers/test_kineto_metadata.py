"""What a trace says beside its events."""

import json
from pathlib import Path
from typing import Any

import pytest

from topout.trace.readers.kineto_metadata import host_in_name, metadata_of, rank_in_name
from topout.trace.table import Device

from .kineto_files import BASE_NS, KinetoWriter


def members(document: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    return [(key.encode(), json.dumps(value).encode()) for key, value in document.items()]


def test_a_new_trace_says_it_all() -> None:
    found = metadata_of(members(KinetoWriter(rank=3, world_size=8, gpus=2).document()))
    assert (found.rank, found.world_size, found.backend) == (3, 8, "nccl")
    assert (found.origin_ns, found.host, found.group_sizes) == (BASE_NS, "node-1", (8,))
    assert found.versions == {"schema": "1", "cuda": "12.6", "nccl": "2.26.2"}
    assert found.devices[1] == Device(1, "NVIDIA A100-SXM4-80GB", 85_899_345_920, 108, "8.0")
    assert [device.number for device in found.devices] == [0, 1]


def test_an_old_trace_says_less() -> None:
    found = metadata_of(members(KinetoWriter(old=True).document()))
    assert (found.rank, found.origin_ns, found.host) == (None, None, None)


@pytest.mark.parametrize(
    "job", [7, None, [], {"rank": -1}, {"rank": True}, {"rank": 1.5}, {"rank": 1 << 70}]
)
def test_nonsense_is_nothing(job: Any) -> None:
    document = {"distributedInfo": job, "deviceProperties": [1, {"id": "x"}, {}], "host_name": 3}
    found = metadata_of(members(document))
    assert (found.rank, found.host, found.devices, found.group_sizes) == (None, None, (), ())


def test_numbers_as_strings() -> None:
    document = {
        "distributedInfo": {"rank": "2", "world_size": "4"},
        "baseTimeNanoseconds": "1790857026000000000",
        "deviceProperties": {"id": "1", "name": "one"},
    }
    found = metadata_of(members(document))
    assert (found.rank, found.world_size, found.origin_ns) == (2, 4, BASE_NS)
    assert found.devices == (Device(1, "one"),)


def test_what_is_not_json_is_named() -> None:
    found = metadata_of([(b"bad", b"[1 2]"), (b"deep", b"[" * 9999 + b"]" * 9999), (b"n", b"NaN")])
    assert found.unreadable == ("bad", "deep", "n")


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("rank-34.Jul_15_10_52_41.1074.pt.trace.json.gz", 34),
        ("trace_rank0.json", 0),
        ("Rank[12].json", 12),
        ("rank_7.json", 7),
        ("trank3.json", None),
        ("rank.json", None),
        ("trace-3.json", None),
        ("rank12345678.json", None),
    ],
)
def test_the_rank_in_a_name(name: str, rank: int | None) -> None:
    assert rank_in_name(Path("rank9") / name) == rank


def test_the_host_in_a_name() -> None:
    path = Path("node_a-17_672975.1754980773706849449.pt.trace.json.gz")
    assert host_in_name(path) == "node_a-17"
    assert host_in_name(Path("trace.json")) is None
