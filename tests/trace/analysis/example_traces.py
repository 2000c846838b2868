"""Small traces made by hand, and the reference figures as traces with those sums."""

from pathlib import Path
from typing import Any

import polars as pl

from topout.trace.table import SCHEMA, Device, Trace, with_all_columns

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
GEMM = "volta_sgemm_128x64_tn"
ADD = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float> >"
Row = dict[str, Any]


def kernel(start: int, duration: int, name: str = GEMM, **more: Any) -> Row:
    """A kernel on device 0, stream 7 unless told otherwise; times in nanoseconds."""
    row = {"kind": "kernel", "name": name, "start_ns": start, "duration_ns": duration}
    return row | {"device": 0, "stream": 7} | more


def copy(start: int, duration: int, kind: str = "HtoD", **more: Any) -> Row:
    """A copy; `kind` is its copy_kind."""
    named = kernel(start, duration, f"Memcpy {kind}", kind="memcpy", copy_kind=kind)
    return named | more


def call(start: int, duration: int, name: str = "cudaLaunchKernel", **more: Any) -> Row:
    """A call of the runtime on the host, thread 1."""
    row = {"kind": "runtime", "name": name, "start_ns": start, "duration_ns": duration}
    return row | {"device": -1, "process": 10, "thread": 1} | more


def operator(start: int, duration: int, name: str = "aten::addmm", **more: Any) -> Row:
    """An operator on the host, thread 1."""
    return call(start, duration, name) | {"kind": "cpu_op"} | more


def mark(start: int, duration: int, name: str, **more: Any) -> Row:
    """An annotation on the host, thread 1."""
    return call(start, duration, name) | {"kind": "annotation"} | more


def collective(start: int, duration: int, elements: int = 1000, **more: Any) -> Row:
    """An all-reduce of floats in the world group, as a kernel of NCCL with its figures."""
    row = kernel(start, duration, ALL_REDUCE, stream=20, collective="all_reduce")
    row |= {"elements_in": elements, "elements_out": elements, "element_type": "Float"}
    return row | {"group_size": 2, "group_name": "default_pg"} | more


def trace(*rows: Row, **fields: Any) -> Trace:
    """A trace of those events."""
    events = with_all_columns(pl.DataFrame(list(rows), schema=SCHEMA))
    known = {"path": Path("example.json"), "format": "kineto"} | fields
    return Trace(events=events, **known)


def rank(number: int, *rows: Row, world_size: int = 2, **fields: Any) -> Trace:
    """The trace of one rank."""
    path = Path(f"rank{number}.json")
    return trace(*rows, path=path, rank=number, world_size=world_size, **fields)


# Milliseconds per device of published runs on 1, 2 and 4 V100s, nvprof: element-wise and other
# kernels of PyTorch, matrix products, copies with NCCL, the rest.
GROUP_MS: dict[str, dict[int, list[tuple[float, float, float, float]]]] = {
    "bert": {
        1: [(335339.4, 1263133, 28986.88, 715.8498)],
        2: [
            (146772.368932, 555868.486497, 42851.086556, 361.785871),
            (117979.945403, 530388.067268, 40529.852734, 348.634761),
        ],
        4: [
            (120595.109126, 393645.783055, 286238.803875, 328.071178),
            (105301.398673, 446267.405010, 285155.661257, 322.199943),
            (53997.735935, 227996.473690, 286778.075561, 308.196831),
            (103844.068444, 433988.950913, 288843.178904, 312.215658),
        ],
    },
    "distilgpt2": {
        1: [(4325.839326, 6293.153052, 413.665189, 7.788116)],
        2: [
            (19167.726555, 27676.138367, 8468.581223, 34.956760),
            (16166.040273, 26773.880864, 9594.198584, 33.684987),
        ],
        4: [
            (10293.078968, 14621.977590, 13381.122406, 18.584924),
            (9246.981013, 14896.915461, 10554.359265, 17.572509),
            (8509.420120, 14424.244212, 11845.565177, 18.354816),
            (8643.745200, 13967.491454, 11878.848118, 17.727993),
        ],
    },
}
_NCCL_OLD = "ncclReduceRingLLKernel_sum_f32(ncclColl)"


def published(workload: str, devices: int) -> Trace:
    """A trace with the published sums: on each device one event per group, one after another.

    On one device there is nobody to reduce with: what moves data there is copies.
    """
    rows = []
    for device, sums in enumerate(GROUP_MS[workload][devices]):
        now = 0
        for name, milliseconds in zip((ADD, GEMM, "", "odd_kernel"), sums, strict=True):
            duration = round(milliseconds * 1e6)
            if name:
                rows.append(kernel(now, duration, name, device=device))
            elif devices == 1:
                rows.append(copy(now, duration, device=device))
            else:
                rows.append(kernel(now, duration, _NCCL_OLD, device=device, collective="reduce"))
            now += duration
    names = tuple(Device(number, "Tesla V100-SXM2-32GB-LS") for number in range(devices))
    path = Path(f"{workload}-{devices}.csv")
    return trace(*rows, path=path, format="nvprof_csv", devices=names)
