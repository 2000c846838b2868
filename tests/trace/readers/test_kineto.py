"""Kineto traces of all ages as the table: values counted by hand."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from topout.errors import CompilerError
from topout.trace.readers import kineto
from topout.trace.readers.kineto import host_in_name, metadata_of, rank_in_name, read_kineto
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.table import SCHEMA, Device, Trace

from .kineto_files import (
    ALL_REDUCE_NEW,
    ALL_REDUCE_OLD,
    BASE_NS,
    ELEMENTWISE,
    GEMM,
    HOST_PROCESS,
    HOST_THREAD,
    KinetoWriter,
    training_trace,
)


def read(writer: KinetoWriter, folder: Path, name: str = "trace.json") -> Trace:
    return read_kineto(writer.save(folder / name))


def write(folder: Path, events: list[Any], **members: Any) -> Path:
    path = folder / "trace.json"
    path.write_text(json.dumps({"traceEvents": events, **members}))
    return path


def only(trace: Trace, kind: str) -> dict[str, Any]:
    """The one event of a kind, without what it does not have."""
    rows = trace.events.filter(pl.col("kind") == kind)
    assert len(rows) == 1
    return {name: value for name, value in rows.row(0, named=True).items() if value is not None}


def test_a_kernel(tmp_path: Path) -> None:
    writer = KinetoWriter()
    writer.kernel(GEMM, 1_234_567_891, 80_007, device=1, stream=9, correlation=12, external=3)
    assert only(read(writer, tmp_path), "kernel") == {
        "start_ns": 1_234_567_891,
        "duration_ns": 80_007,
        "kind": "kernel",
        "name": GEMM,
        "device": 1,
        "stream": 9,
        "correlation": 12,
        "external": 3,
        "occupancy": 0.5,
        "sm_share": 1.0,  # 2.5 blocks on each
    }


def test_copies_and_fills(tmp_path: Path) -> None:
    writer = KinetoWriter(gpus=2)
    writer.copy("HtoD", 1_000, 2_000, 4_096, correlation=5)
    writer.copy("PtoP", 5_000, 2_000, 1 << 20, device=0, to_device=1)
    writer.copy("DtoH", 9_000, 0, 8)
    writer.fill(20_000, 3_000, 512)
    events = read(writer, tmp_path).events
    copies = events.filter(pl.col("kind") == "memcpy")
    assert copies["copy_kind"].to_list() == ["HtoD", "PtoP", "DtoH"]
    assert copies["bytes"].to_list() == [4_096, 1 << 20, 8]
    assert copies["from_device"].to_list() == [None, 0, None]
    assert copies["to_device"].to_list() == [None, 1, None]
    assert copies["device"].to_list() == [0, 0, 0]
    fill = events.filter(pl.col("kind") == "memset").row(0, named=True)
    assert (fill["bytes"], fill["device"], fill["duration_ns"]) == (512, 0, 3_000)


def test_events_of_the_host(tmp_path: Path) -> None:
    writer = KinetoWriter()
    shapes: list[Any] = [[32, 768], [], [[2], [3]]]
    writer.operator("aten::mm", 1_000, 500, shapes=shapes, **{"Sequence number": 4})
    writer.launch("cudaLaunchKernel", 1_100, 200, external=1)
    writer.launch("cuLaunchKernel", 1_400, 20, category="cuda_driver")
    writer.annotation("step é \U0001f600", 0, 5_000)
    writer.python("train.py(1): main", 0, 9_000)
    writer.add("overhead", "Buffer Flush", 7_000, 100, pid=-1, tid=0)
    trace = read(writer, tmp_path)
    assert only(trace, "cpu_op") == {
        "start_ns": 1_000,
        "duration_ns": 500,
        "kind": "cpu_op",
        "name": "aten::mm",
        "device": -1,
        "process": HOST_PROCESS,
        "thread": HOST_THREAD,
        "external": 1,
        "shapes": "[[32, 768], [], [[2], [3]]]",
        "element_types": '["float", "float", "float"]',
        "sequence": 4,
    }
    runtime = trace.events.filter(pl.col("kind") == "runtime")
    assert runtime["correlation"].to_list() == [2, 3]
    assert runtime["stream"].to_list() == [None, None]
    assert only(trace, "annotation")["name"] == "step é \U0001f600"
    assert only(trace, "python")["duration_ns"] == 9_000
    others = trace.events.filter(pl.col("kind") == "other")
    assert others["name"].to_list() == ["PyTorch Profiler (0)", "Buffer Flush"]


def test_memory(tmp_path: Path) -> None:
    writer = KinetoWriter()
    writer.memory(1_000, 512, 512, reserved_bytes=2048)
    writer.memory(2_000, -512, 0, device=None)
    events = read(writer, tmp_path).events.filter(pl.col("kind") == "memory")
    assert events["bytes"].to_list() == [512, -512]
    assert events["device"].to_list() == [0, -1]
    assert events["allocated_bytes"].to_list() == [512, 0]
    assert events["reserved_bytes"].to_list() == [2048, 0]
    assert events["process"].to_list() == [HOST_PROCESS] * 2


def test_regions_and_waits_on_the_device(tmp_path: Path) -> None:
    writer = KinetoWriter()
    writer.device_annotation("forward", 10_000, 5_000, stream=7)
    args = {"cuda_sync_kind": "Stream Wait Event", "stream": 20, "correlation": 9, "device": 0}
    writer.add("cuda_sync", "Stream Wait Event", 1_000, 10, pid=0, tid=20, args=args)
    trace = read(writer, tmp_path)
    region, wait = only(trace, "gpu_annotation"), only(trace, "gpu_sync")
    assert (region["device"], region["stream"]) == (0, 7)
    assert (wait["device"], wait["stream"], wait["correlation"]) == (0, 20, 9)
    assert "process" not in region
    assert trace.device_numbers == []  # neither is work


def test_collectives_of_new_traces_say_on_the_kernel_what_they_move(tmp_path: Path) -> None:
    writer = KinetoWriter(rank=1, world_size=4)
    arguments = ("_allgather_base", "ncclDevKernel_AllGather_RING_LL(x)", 0, 9_000, 5_000)
    writer.collective(*arguments, 1_000, elements_out=4_000, element_type="BFloat16")
    trace = read(writer, tmp_path)
    kernel = only(trace, "kernel")
    assert kernel["collective"] == "all_gather"
    assert (kernel["elements_in"], kernel["elements_out"]) == (1_000, 4_000)
    assert (kernel["element_type"], kernel["group_size"]) == ("BFloat16", 4)
    assert kernel["group_name"] == "0"
    # The operator that recorded it would count it twice.
    assert trace.events["collective"].count() == 1


def test_collectives_of_old_traces_are_joined_with_their_record(tmp_path: Path) -> None:
    writer = KinetoWriter(rank=1, world_size=4, old=True)
    writer.collective("allreduce", ALL_REDUCE_OLD, 0, 9_000, 5_000, 1_000)
    writer.collective("broadcast", "ncclKernel_Broadcast_RING_LL_Sum_int8_t(w)", 0, 20_000, 1, 7)
    writer.kernel("ncclKernel_SendRecv(ncclWorkElem)", 90_000, 10)  # without a record
    events = read(writer, tmp_path).events.filter(pl.col("kind") == "kernel")
    assert events["collective"].to_list() == ["all_reduce", "broadcast", "send_recv"]
    assert events["elements_in"].to_list() == [1_000, 7, None]
    assert events["group_size"].to_list() == [4, 4, None]
    assert events["element_type"].to_list() == ["Float", "Float", None]


def test_a_record_that_has_shapes_alone(tmp_path: Path) -> None:
    writer = KinetoWriter(old=True)
    external = writer.operator("record_param_comms", 0, 9_000, shapes=[[250]], types=["float"])
    writer.kernel(ALL_REDUCE_OLD, 9_000, 5_000, external=external)
    kernel = only(read(writer, tmp_path), "kernel")
    assert (kernel["collective"], kernel["elements_in"]) == ("all_reduce", 250)


def test_collectives_on_the_host(tmp_path: Path) -> None:
    writer = KinetoWriter(rank=0, world_size=2)
    args = {"External id": 513, "Input type": ["float"], "Input Dims": [[9610]]}
    writer.add("user_annotation", "gloo:all_reduce", 1_000, 4_000, args=args)
    annotation = only(read(writer, tmp_path), "annotation")
    assert annotation["collective"] == "all_reduce"
    assert (annotation["elements_in"], annotation["elements_out"]) == (9_610, 9_610)
    assert (annotation["element_type"], annotation["group_size"]) == ("float", 2)


def test_what_the_trace_says_of_itself(tmp_path: Path) -> None:
    trace = read(training_trace(rank=1, world_size=2), tmp_path)
    assert (trace.rank, trace.world_size, trace.backend) == (1, 2, "nccl")
    assert (trace.host, trace.origin_ns, trace.format) == ("node-1", BASE_NS, "kineto")
    assert trace.versions["cuda"] == "12.6"
    assert trace.devices[0].multiprocessors == 108
    assert trace.doubts == ()


def test_the_rank_from_a_collective_or_the_name_of_the_file(tmp_path: Path) -> None:
    writer = KinetoWriter(rank=2, world_size=4)
    writer.collective("allreduce", ALL_REDUCE_NEW, 0, 9_000, 5_000, 1_000)
    writer.rank = None  # no distributedInfo
    assert read(writer, tmp_path, "rank7.json").rank == 2
    assert read(KinetoWriter(), tmp_path, "rank7.json").rank == 7
    assert read(KinetoWriter(), tmp_path).rank is None


def test_old_times_are_absolute_microseconds(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [
            {"ph": "X", "cat": "Kernel", "name": "k", "pid": "0", "tid": "stream 7",
             "ts": 1695835535123457, "dur": 12, "args": {"external id": 4, "device": 0}},
            {"ph": "X", "cat": "Operator", "name": "aten::mm", "pid": 5, "tid": "6",
             "ts": "1695835535123456", "dur": "3"},
        ],
    )  # fmt: skip
    trace = read_kineto(path)
    assert trace.origin_ns == 0
    assert trace.events["start_ns"].to_list() == [1695835535123456000, 1695835535123457000]
    assert trace.events["duration_ns"].to_list() == [3_000, 12_000]
    assert trace.events["kind"].to_list() == ["cpu_op", "kernel"]
    assert trace.events["stream"].to_list() == [None, 7]
    assert trace.events["thread"].to_list() == [6, None]
    assert trace.events["external"].to_list() == [None, 4]


def test_times_are_never_rounded(tmp_path: Path) -> None:
    # As floating-point numbers of seconds or nanoseconds these would collapse.
    times = ["1695835535123456.001", "1695835535123456.002", "1.695835535123456003e15"]
    events = ", ".join(f'{{"ph": "X", "ts": {time}, "dur": 0.001}}' for time in times)
    path = tmp_path / "trace.json"
    path.write_text(f"[{events}]")
    start = 1_695_835_535_123_456_000
    assert read_kineto(path).events["start_ns"].to_list() == [start + 1, start + 2, start + 3]
    assert set(read_kineto(path).events["duration_ns"]) == {1}


@pytest.mark.parametrize("old", [False, True])
def test_all_layouts_are_one_trace(tmp_path: Path, old: bool) -> None:
    document = training_trace(old=old).document()
    events = document.pop("traceEvents")
    turned = [dict(reversed(event.items())) for event in events]
    texts = {
        "indented": json.dumps({**document, "traceEvents": events}, indent=4),
        "on one line": json.dumps({"traceEvents": events, **document}, separators=(",", ":")),
        "turned": json.dumps({**document, "traceEvents": turned}),
        "bare": json.dumps(events),
    }
    expected = read(training_trace(old=old), tmp_path).events
    assert len(expected) > 50
    for layout, text in texts.items():
        for data in (text.encode(), gzip.compress(text.encode(), mtime=0)):
            path = tmp_path / f"{layout}.json"
            path.write_bytes(data)
            assert_frame_equal(read_kineto(path).events, expected)


def test_without_a_compiler_the_table_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = training_trace().save(tmp_path / "trace.json.gz")
    native = read_kineto(path)

    def refuse() -> None:
        raise CompilerError("no compiler", "")

    monkeypatch.setattr(kineto, "scan_library", refuse)
    assert isinstance(kineto.new_scan(), PythonScan)
    plain = read_kineto(path)
    assert_frame_equal(plain.events, native.events)
    assert plain.doubts == native.doubts


def test_the_table_has_all_columns_in_the_order_of_time(tmp_path: Path) -> None:
    events = read(training_trace(), tmp_path).events
    assert dict(events.schema) == {name: pl.Series([], dtype=t).dtype for name, t in SCHEMA.items()}
    assert events["start_ns"].is_sorted()
    assert events["kind"].null_count() == 0


def test_progress_rises_to_one(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    path = training_trace(steps=20).save(tmp_path / "trace.json")
    read_kineto(path, lambda what, done: told.append((what, done)))
    assert told[-1] == ("reading trace.json", 1.0)


def test_events_that_overlap_by_nanoseconds_stay_as_they_are(tmp_path: Path) -> None:
    writer = KinetoWriter()
    writer.kernel(GEMM, 1_000, 1_002)
    writer.kernel(ELEMENTWISE, 2_000, 10)
    trace = read(writer, tmp_path)
    assert trace.device_work["start_ns"].to_list() == [1_000, 2_000]
    assert trace.device_work["duration_ns"].to_list() == [1_002, 10]


def test_an_amd_copy(tmp_path: Path) -> None:
    writer = KinetoWriter()
    lane = {"pid": 2, "tid": 0, "args": {"device": 2, "stream": 0, "correlation": 4}}
    writer.add("gpu_memcpy", "CopyHostToDevice", 1_000, 10, **lane)
    copy = only(read(writer, tmp_path), "memcpy")
    assert copy["copy_kind"] == "HtoD"
    assert "bytes" not in copy


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


def test_categories_that_are_not_known_are_named_with_their_time(tmp_path: Path) -> None:
    events = [
        {"ph": "X", "cat": cat, "name": "x", "ts": ts, "dur": dur, "pid": 0, "tid": 1}
        for ts, (cat, dur) in enumerate(
            [("kernel", 5), ("npu_op", 2), ("NPU_op", 1), ("npu_op", 1), ("Trace", 9), ("b", 0)]
        )
    ]
    trace = read_kineto(write(tmp_path, events))
    assert trace.doubts == (
        "Of categories that are not known, counted in no figure: 'npu_op' (2 events, 3.00 µs), "
        "'NPU_op' (1 event, 1.00 µs), 'b' (1 event, 0 s).",
    )
    many = [event | {"cat": f"c{at}", "dur": 9 - at} for at, event in enumerate(events)]
    (doubt,) = read_kineto(write(tmp_path, many)).doubts
    assert "'c4' (1 event, 5.00 µs) and 1 more." in doubt


@pytest.mark.parametrize(
    ("category", "name", "kind", "way"),
    [
        ("gpu_memcpy", "Memcpy M2D", "memcpy", "HtoD"),  # XPU
        ("gpu_memcpy", "Memcpy D2M", "memcpy", "DtoH"),
        ("gpu_memcpy", "CopyHostToDevice", "memcpy", "HtoD"),  # ROCm
        ("kernel", "gemm_kernel", "kernel", None),
        ("xpu_runtime", "zeCommandListAppendLaunchKernel", "runtime", None),
        ("hip_runtime", "hipLaunchKernel", "runtime", None),
        ("mtia_runtime", "launch", "runtime", None),
        ("hpu_op", "gemm", "kernel", None),
        ("HPU_OP", "gemm", "kernel", None),
        ("mtia_ccp_events", "fba_kernel", "kernel", None),
        ("GCU_MEMCPY", "Memcpy HtoD", "memcpy", "HtoD"),
        ("mlu_user_annotation", "step", "gpu_annotation", None),
        ("xpu_sync", "Stream Wait", "gpu_sync", None),
    ],
)
def test_the_categories_of_every_maker(
    tmp_path: Path, category: str, name: str, kind: str, way: str | None
) -> None:
    event = {"ph": "X", "cat": category, "name": name, "ts": 1, "dur": 2, "pid": 3, "tid": 4}
    trace = read_kineto(write(tmp_path, [event]))
    found = trace.events.row(0, named=True)
    assert (found["kind"], found["copy_kind"]) == (kind, way)
    on_device = kind not in ("runtime", "cpu_op")
    assert (found["device"], found["stream"]) == ((3, 4) if on_device else (-1, None))
    assert trace.doubts == ()
