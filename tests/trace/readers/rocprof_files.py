"""What rocprof writes, made for tests: tables of its versions, and the JSON of rocprofv3."""

from typing import Any

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


def whole() -> dict[str, Any]:
    """Records of all kinds: three kernels, four copies, a launch and a mark."""

    def dispatch(kernel: int, agent: int) -> dict[str, Any]:
        return {"kernel_id": kernel, "agent_id": {"handle": agent}, "queue_id": {"handle": 2}}

    def ends(source: int, target: int) -> dict[str, Any]:
        return {"src_agent_id": {"handle": source}, "dst_agent_id": {"handle": target}}

    first = {"correlation_id": {"internal": 1, "external": 0}}
    return document(
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
