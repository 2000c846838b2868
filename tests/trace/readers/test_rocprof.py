"""rocprof's tables and JSON: agents as devices, copies by their ends, files of one process."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from topout.errors import InputError
from topout.trace.readers.read import format_of, read_trace, read_traces
from topout.trace.table import HOST_DEVICE, Trace

KERNELS = """\
"Kind","Agent_Id","Queue_Id","Stream_Id","Thread_Id","Dispatch_Id","Kernel_Id","Kernel_Name",\
"Correlation_Id","Start_Timestamp","End_Timestamp","LDS_Block_Size"
"KERNEL_DISPATCH","Agent 4",1,0,999,1,17,"Cijk_Ailk_Bljk_BBS_BH",1,1001000,1001800,0
"KERNEL_DISPATCH","Agent 5",2,0,999,2,17,"void f<int>(int, float)",2,1002000,1002100,0
"""
COPIES = """\
"Kind","Direction","Stream_Id","Source_Agent_Id","Destination_Agent_Id","Correlation_Id",\
"Start_Timestamp","End_Timestamp"
"MEMORY_COPY","MEMORY_COPY_HOST_TO_DEVICE",0,"Agent 0","Agent 4",3,1000000,1000500
"MEMORY_COPY","MEMORY_COPY_DEVICE_TO_HOST",0,"Agent 5","Agent 0",4,1003000,1003500
"MEMORY_COPY","MEMORY_COPY_DEVICE_TO_DEVICE",0,"Agent 4","Agent 5",5,1004000,1004500
"MEMORY_COPY","MEMORY_COPY_DEVICE_TO_DEVICE",0,"Agent 4","Agent 4",6,1005000,1005500
"""
CALLS = """\
"Domain","Function","Process_Id","Thread_Id","Correlation_Id","Start_Timestamp","End_Timestamp"
"HIP_RUNTIME_API","hipLaunchKernel",238,239,1,1000900,1000950
"""
MARKS = """\
"Domain","Function","Process_Id","Thread_Id","Correlation_Id","Start_Timestamp","End_Timestamp"
"MARKER_CORE_API","step 1",238,239,9,1000000,1006000
"""
STATS = """\
"Name","Calls","TotalDurationNs","AverageNs","Percentage","MinNs","MaxNs","StdDev"
"Cijk_Ailk_Bljk_BBS_BH",3,2400,800.000000,96.0,700,900,1.0
"MEMORY_COPY_HOST_TO_DEVICE",2,100,50.0,4.0,50,50,0.0
"hipLaunchKernel",5,900000,180000.0,0.0,1,2,0.0
"KERNEL_DISPATCH",3,2400,800.0,96.0,700,900,1.0
"""
FIRST_VERSION = """\
"Index","KernelName","gpu-id","queue-id","queue-index","pid","tid","grd","wgr","BeginNs","EndNs",\
"DurationNs"
0,"Cijk_Ailk_Bljk_SB (.kd)",1,3,0,42,43,256,64,2000000,2000500,500
"""


def told(trace: Trace, *columns: str) -> list[tuple[Any, ...]]:
    texts = [pl.col(name).cast(pl.String) for name in ("kind", "name")]
    return trace.events.select(*texts, *columns).rows()


def save(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_kernels_have_the_numbers_of_their_agents(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "1_kernel_trace.csv", KERNELS))
    assert trace.format == "rocprof_csv"
    assert told(trace, "device", "stream", "start_ns", "duration_ns", "correlation") == [
        ("kernel", "Cijk_Ailk_Bljk_BBS_BH", 4, 1, 1_001_000, 800, 1),
        ("kernel", "void f<int>(int, float)", 5, 2, 1_002_000, 100, 2),
    ]
    assert [device.number for device in trace.devices] == [4, 5]
    assert trace.doubts == ()


def test_copies_belong_to_the_end_that_is_no_host(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "1_memory_copy_trace.csv", COPIES))
    assert told(trace, "device", "copy_kind", "from_device", "to_device") == [
        ("memcpy", "MEMORY_COPY_HOST_TO_DEVICE", 4, "HtoD", None, None),
        ("memcpy", "MEMORY_COPY_DEVICE_TO_HOST", 5, "DtoH", None, None),
        ("memcpy", "MEMORY_COPY_PEER_TO_PEER", 4, "PtoP", 4, 5),
        ("memcpy", "MEMORY_COPY_DEVICE_TO_DEVICE", 4, "DtoD", None, None),
    ]
    assert trace.doubts == ("the sizes of copies are not in the file",)


def test_what_one_process_wrote_in_several_files_is_one_trace(tmp_path: Path) -> None:
    parts = {"kernel": KERNELS, "memory_copy": COPIES, "hip_api": CALLS, "marker_api": MARKS}
    for name, text in parts.items():
        save(tmp_path / f"7_{name}_trace.csv", text)
    save(tmp_path / "7_kernel_stats.csv", STATS)
    save(tmp_path / "7_agent_info.csv", '"Node_Id","Logical_Node_Id","Agent_Type"\n0,0,"CPU"\n')
    save(tmp_path / "8_kernel_trace.csv", KERNELS)
    first, second = read_traces([tmp_path])
    assert first.path.name == "7_kernel_trace.csv"
    assert second.path.name == "8_kernel_trace.csv"
    assert len(first.events) == 8
    assert first.events["start_ns"].is_sorted()
    assert first.timed
    kinds = first.events["kind"].cast(pl.String).to_list()
    assert (kinds.count("runtime"), kinds.count("annotation")) == (1, 1)
    assert "agent_info" in " ".join(first.doubts)
    assert "only calls" not in " ".join(first.doubts)


def test_calls_alone_are_told(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "7_hip_api_trace.csv", CALLS))
    assert told(trace, "device", "process", "thread") == [
        ("runtime", "hipLaunchKernel", HOST_DEVICE, 238, 239)
    ]
    assert trace.doubts == ("no kernel, copy or fill is in it: only calls of the host",)


def test_sums_count_kernels_and_copies_but_no_calls(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "kernel_stats.csv", STATS))
    assert not trace.timed
    sums = trace.events.group_by(pl.col("name").cast(pl.String)).agg(pl.col("duration_ns").sum())
    assert dict(sums.rows()) == {"Cijk_Ailk_Bljk_BBS_BH": 2400, "MEMORY_COPY_HOST_TO_DEVICE": 100}
    assert trace.events["bytes"].null_count() == 5


def test_the_first_versions_of_rocprof(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "results.csv", FIRST_VERSION))
    assert told(trace, "device", "stream", "start_ns", "duration_ns") == [
        ("kernel", "Cijk_Ailk_Bljk_SB (.kd)", 1, 3, 2_000_000, 500)
    ]


def test_counters_are_refused_by_name(tmp_path: Path) -> None:
    header = '"Correlation_Id","Dispatch_Id","Agent_Id","Kernel_Name","Counter_Name"\n'
    with pytest.raises(InputError, match="a table of counters of rocprof") as refused:
        read_trace(save(tmp_path / "counter_collection.csv", header))
    assert "--kernel-trace" in (refused.value.remedy or "")


def document(**records: list[dict[str, Any]]) -> dict[str, Any]:
    def agent(handle: int, kind: int, node: int, name: str) -> dict[str, Any]:
        return {"id": {"handle": handle}, "type": kind, "node_id": node, "name": name,
                "product_name": name.upper(), "cu_count": 304}  # fmt: skip

    return {
        "rocprofiler-sdk-tool": [
            {
                "metadata": {"pid": 77, "node": {"hostname": "n1"}},
                "agents": [agent(10, 1, 0, "cpu"), agent(90, 2, 5, "gfx942"),
                           agent(80, 2, 3, "gfx941")],
                "kernel_symbols": [
                    {"kernel_id": 17, "formatted_kernel_name": "Cijk_Ailk(float*)"},
                    {"kernel_id": 18, "kernel_name": "mangled"},
                ],
                "strings": {
                    "buffer_records": [
                        {"kind": "NONE", "operations": []},
                        {"kind": "HIP_RUNTIME_API", "operations": ["none", "hipLaunchKernel"]},
                    ],
                    "marker_api": [{"key": 9, "value": "step 1"}],
                },
                "buffer_records": {"names": [{"not": "a record"}], **records},
            }
        ]
    }  # fmt: skip


def record(start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"size": 1, "thread_id": 5, "start_timestamp": start, "end_timestamp": end, **more}


def test_json_of_rocprofv3(tmp_path: Path) -> None:
    def dispatch(kernel: int, agent: int) -> dict[str, Any]:
        return {"kernel_id": kernel, "agent_id": {"handle": agent}, "queue_id": {"handle": 2}}

    def ends(source: int, target: int) -> dict[str, Any]:
        return {"src_agent_id": {"handle": source}, "dst_agent_id": {"handle": target}}

    first = {"correlation_id": {"internal": 1, "external": 0}}
    file = document(
        kernel_dispatch=[
            record(1_000, 1_800, dispatch_info=dispatch(17, 90), **first),
            record(2_000, 2_100, dispatch_info=dispatch(18, 80)),
            record(3_000, 3_100, dispatch_info=dispatch(99, 80)),
        ],
        memory_copy=[
            record(4_000, 4_100, bytes=4096, **ends(10, 80)),
            record(5_000, 5_100, **ends(90, 10)),
            record(6_000, 6_100, bytes=8, **ends(80, 90)),
            record(7_000, 7_100, bytes=8, **ends(80, 80)),
        ],
        hip_api=[record(900, 950, kind=1, operation=1, **first)],
        marker_api=[record(0, 8_000, correlation_id={"internal": 9})],
    )
    trace = read_trace(save(tmp_path / "out_results.json", json.dumps(file)))
    assert trace.format == "rocprofv3_json"
    assert told(trace, "device", "correlation", "bytes", "copy_kind", "to_device") == [
        ("annotation", "step 1", HOST_DEVICE, 9, None, None, None),
        ("runtime", "hipLaunchKernel", HOST_DEVICE, 1, None, None, None),
        ("kernel", "Cijk_Ailk(float*)", 1, 1, None, None, None),
        ("kernel", "mangled", 0, None, None, None, None),
        ("kernel", "kernel 99", 0, None, None, None, None),
        ("memcpy", "Memcpy HtoD", 0, None, 4096, "HtoD", None),
        ("memcpy", "Memcpy DtoH", 1, None, None, "DtoH", None),
        ("memcpy", "Memcpy PtoP", 1, None, 8, "PtoP", 1),
        ("memcpy", "Memcpy DtoD", 0, None, 8, "DtoD", None),
    ]
    assert [(each.number, each.name) for each in trace.devices] == [(0, "GFX941"), (1, "GFX942")]
    assert trace.doubts == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"rocprofiler-sdk-tool": [{"metadata": ', "not as rocprofv3 writes JSON"),
        ('{"rocprofiler-sdk-tool": 7}', "not as rocprofv3 writes JSON"),
        ('{"rocprofiler-sdk-tool": [{"buffer_records": {"kernel_dispatch": [7]}}]}', "object"),
        ('{"rocprofiler-sdk-tool": [{"agents": "x"}]}', "agents"),
    ],
)
def test_damaged_json_of_rocprofv3_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = save(tmp_path / "results.json", text)
    assert format_of(path) == "rocprofv3_json"
    with pytest.raises(InputError, match=what) as refused:
        read_trace(path)
    assert str(path) in refused.value.message


def test_json_of_rocprofv3_without_kernels_says_so(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "results.json", json.dumps(document(hip_api=[]))))
    assert trace.events.is_empty()
    assert "--kernel-trace" in trace.doubts[0]
