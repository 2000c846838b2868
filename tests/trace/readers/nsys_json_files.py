"""Lines of the JSON that Nsight Systems exports, made for tests."""

from typing import Any

PROCESS = 0xA16CE
THREAD = str(0x0001_0000_0000_0000 + (PROCESS << 24) + 0xA16CF)
GPU_PROCESS = str(0x0001_0000_0000_0000 + (PROCESS << 24))
NAMES = ["[Unknown]", "nvjet_hsh_256x128", "cuLaunchKernelEx", "iteration 16",
         "ncclDevKernel_AllGather_RING_LL"]  # fmt: skip


def device(kind: int, start: int, end: int, **more: Any) -> dict[str, Any]:
    event = {"startNs": str(start), "endNs": str(end), "correlationId": 745, "deviceId": 1,
             "streamId": "7", "eventClass": 3, "globalPid": GPU_PROCESS}  # fmt: skip
    return {"Type": kind, "CudaEvent": event | more}


def nvtx(kind: int, **more: Any) -> dict[str, Any]:
    return {"Type": kind, "NvtxEvent": {"Type": kind, "GlobalTid": THREAD, "NsTime": True} | more}


def kernel(name: int, start: int, end: int) -> dict[str, Any]:
    named = {"demangledName": str(name), "shortName": "0", "gridX": 4}
    return device(79, start, end, kernel=named)


EVENTS: list[dict[str, Any]] = [
    {"Type": 27, "CommEvent": {"Timestamp": 1, "GlobalPid": GPU_PROCESS, "Commname": "python"}},
    {"Type": 48, "TraceProcessEvent": {"startNs": "1000", "endNs": "1500", "correlationId": 745,
                                       "eventClass": 1, "name": "2", "globalTid": THREAD}},
    kernel(1, 2000, 2800),
    device(80, 3000, 3400, memcpy={"sizebytes": "58720256", "copyKind": "2"}),
    device(81, 3500, 3600, memset={"sizebytes": 64}),
    device(106, 3700, 3800, sync={"syncType": "SYNCHRONIZATION_TYPE_STREAM_WAIT_EVENT"}),
    device(127, 0, 0, cudaEventRecord={"eventId": 8823}),
    kernel(4, 4000, 4100),
    nvtx(59, Timestamp="900", EndTimestamp="5000", TextId="3"),
    nvtx(60, Timestamp="950", EndTimestamp="960", Text="own text"),
    nvtx(59, Timestamp="980"),
    nvtx(75, Timestamp="1", Text="a domain"),
]  # fmt: skip
WHOLE = [{"data": NAMES}]
APART = [{"type": "String", "id": str(at), "value": name} for at, name in enumerate(NAMES)]
