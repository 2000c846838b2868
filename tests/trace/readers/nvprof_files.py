"""nvprof CSVs in the real format whose sums per device and group are those of published runs.

The figures are measurements of one epoch of fine-tuning on V100-32GB (BERT: batch 8, length 416;
DistilGPT2: batch 4) on 1, 2 and 4 GPUs; the division into single events is this file's own.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

# (workload, GPUs) → for each device: custom_ops, matrix-mul, memory_mgmt, other in ms, as printed.
GROUPS = ("custom_ops", "matrix-mul", "memory_mgmt", "other")
PUBLISHED_MS: Mapping[tuple[str, int], Sequence[Sequence[str]]] = {
    ("bert", 1): [("335339.4", "1263133", "28986.88", "715.8498")],
    ("bert", 2): [
        ("146772.368932", "555868.486497", "42851.086556", "361.785871"),
        ("117979.945403", "530388.067268", "40529.852734", "348.634761"),
    ],
    ("bert", 4): [
        ("120595.109126", "393645.783055", "286238.803875", "328.071178"),
        ("105301.398673", "446267.405010", "285155.661257", "322.199943"),
        ("53997.735935", "227996.473690", "286778.075561", "308.196831"),
        ("103844.068444", "433988.950913", "288843.178904", "312.215658"),
    ],
    ("distilgpt2", 1): [("4325.839326", "6293.153052", "413.665189", "7.788116")],
    ("distilgpt2", 2): [
        ("19167.726555", "27676.138367", "8468.581223", "34.956760"),
        ("16166.040273", "26773.880864", "9594.198584", "33.684987"),
    ],
    ("distilgpt2", 4): [
        ("10293.078968", "14621.977590", "13381.122406", "18.584924"),
        ("9246.981013", "14896.915461", "10554.359265", "17.572509"),
        ("8509.420120", "14424.244212", "11845.565177", "18.354816"),
        ("8643.745200", "13967.491454", "11878.848118", "17.727993"),
    ],
}
# The ten longest kernels of the run on one GPU: published sums in ms.
BERT_TOP10_MS = {
    "volta_sgemm_32x128_tn": "135795.181913",
    "volta_sgemm_128x64_nt": "131064.973333",
    "volta_sgemm_128x32_nn": "129060.355232",
    "volta_sgemm_64x32_sliced1x4_nt": "123588.278827",
    "volta_sgemm_128x32_sliced1x4_nt": "122065.763288",
    "volta_sgemm_128x64_tn": "118811.667719",
    "volta_sgemm_128x64_nn": "118645.150663",
    "volta_sgemm_128x128_tn": "118569.752818",
    "volta_sgemm_128x128_nn": "117486.346398",
    "volta_sgemm_64x64_tn": "57767.068455",
}
_REDUCE = "ncclReduceRingLLKernel_sum_f32(ncclColl)"
_BROADCAST = "ncclBroadcastRingLLKernel_copy_i8(ncclColl)"
# NCCL's two kernels in the BERT run on 4 GPUs, by device, in ms.
BERT_NCCL_MS = [
    {_REDUCE: "157060.957132", _BROADCAST: "119301.788980"},
    {_REDUCE: "152393.073526", _BROADCAST: "123168.228965"},
    {_REDUCE: "156335.110976", _BROADCAST: "124997.802063"},
    {_REDUCE: "155233.676953", _BROADCAST: "124178.124962"},
]
_FILLERS = {
    "matrix-mul": ["volta_sgemm_64x32_sliced1x4_tn", "volta_sgemm_32x128_nn"],
    "custom_ops": [
        "void at::native::vectorized_elementwise_kernel<int=4, at::native::AddFunctor<float>>",
        "void at::native::unrolled_elementwise_kernel<at::native::copy_device_to_device>",
        "void at::native::reduce_kernel<int=512, int=1, at::native::ReduceOp<float>>",
        "void (anonymous namespace)::softmax_warp_forward<float, float, float, int=9>",
    ],
    "other": ["void gemv2T_kernel_val<int, float>", "void thrust::cuda_cub::core::_kernel_agent"],
}
_GRID = [f"{what} {axis}" for what in ("Grid", "Block") for axis in "XYZ"]
_MEMORY = ["Registers Per Thread", "Static SMem", "Dynamic SMem", "Size", "Throughput"]
_PLACE = ["SrcMemType", "DstMemType", "Device", "Context", "Stream"]
_PEERS = ["Src Dev", "Src Ctx", "Dst Dev", "Dst Ctx"]
_HEADER = ["Start", "Duration", *_GRID, *_MEMORY, *_PLACE, *_PEERS, "Name"]
_NS = {"s": 10**9, "ms": 10**6, "us": 10**3}
_GAP_NS = 5_000  # between events: more than starts in s with 6 digits are rounded by


def published_ns(workload: str, gpus: int) -> list[dict[str, int]]:
    """Sums by group in ns, for each device."""
    return [
        {group: to_ns(text) for group, text in zip(GROUPS, row, strict=True)}
        for row in PUBLISHED_MS[workload, gpus]
    ]


def to_ns(milliseconds: str) -> int:
    return int(Decimal(milliseconds) * 10**6)


def write_published_run(
    path: Path, workload: str, gpus: int, units: tuple[str, str] = ("s", "us"), events: int = 400
) -> Path:
    """One nvprof CSV of all devices, with about `events` rows for each device and group."""
    pick = random.Random(f"{workload} {gpus}")
    rows: list[tuple[int, str]] = []
    for device, sums in enumerate(published_ns(workload, gpus)):
        clock = 1_000_000 * (device + 1)
        parts = list(_events(workload, gpus, device, sums, events))
        pick.shuffle(parts)
        for name, duration in parts:
            rows.append((clock, _row(name, clock, duration, device, gpus, units)))
            clock += duration + _GAP_NS
    rows.sort()
    quoted = ",".join(f'"{name}"' for name in _HEADER)
    unit_row = f"{units[0]},{units[1]},,,,,,,,KB,B,MB,GB/s,,,,,,,,,,"
    banner = [
        "==4242== NVPROF is profiling process 4242, command: python train.py",
        "==4242== Profiling application: python train.py",
        "==4242== Profiling result:",
    ]
    path.write_text("\n".join([*banner, quoted, unit_row, *(text for _, text in rows)]) + "\n")
    return path


def _events(
    workload: str, gpus: int, device: int, sums: Mapping[str, int], events: int
) -> Iterator[tuple[str, int]]:
    """(name, ns) of each event of a device."""
    for group, total in sums.items():
        named = _named(workload, gpus, device, group, total)
        rest = total - sum(named.values())
        fillers = _FILLERS.get(group) or [
            "[CUDA memcpy HtoD]",
            "[CUDA memcpy DtoH]",
            "[CUDA memset]",
        ]
        if group == "memory_mgmt" and gpus > 1:
            fillers = [*fillers, "[CUDA memcpy PtoP]"]
        shares = dict(zip(fillers, _divided(rest, len(fillers)), strict=True))
        for name, duration in {**named, **shares}.items():
            for part in _divided(duration, max(events // (len(named) + len(fillers)), 1)):
                yield name, part


def _named(workload: str, gpus: int, device: int, group: str, total: int) -> dict[str, int]:
    """The kernels of the group whose sums are known, or for NCCL are nine tenths of it."""
    if group == "matrix-mul" and (workload, gpus) == ("bert", 1):
        return {name: to_ns(text) for name, text in BERT_TOP10_MS.items()}
    if group == "memory_mgmt" and (workload, gpus) == ("bert", 4):
        return {name: to_ns(text) for name, text in BERT_NCCL_MS[device].items()}
    if group == "memory_mgmt" and gpus > 1:
        return {_REDUCE: total * 5 // 10, _BROADCAST: total * 4 // 10}
    return {}


def _divided(total: int, parts: int) -> list[int]:
    """`total` in `parts` whole numbers that differ by at most 1."""
    share, more = divmod(total, parts)
    return [share + (number < more) for number in range(parts)]


def _row(
    name: str, start: int, duration: int, device: int, gpus: int, units: tuple[str, str]
) -> str:
    fields = dict.fromkeys(_HEADER, "")
    fields["Start"] = f"{start / _NS[units[0]]:.6f}"
    fields["Duration"] = f"{Decimal(duration) / _NS[units[1]]:.6f}"
    fields["Device"] = _device(device)
    fields["Context"] = f'"{device + 1}"'
    fields["Stream"] = '"7"'
    fields["Name"] = f'"{name}"'
    if name.startswith("[CUDA"):
        fields["Size"] = "1.500000"
        fields["SrcMemType"] = '"Device"'
        if name == "[CUDA memcpy PtoP]":
            other = (device + 1) % gpus
            fields |= {"Src Dev": _device(device), "Src Ctx": f'"{device + 1}"'}
            fields |= {"Dst Dev": _device(other), "Dst Ctx": f'"{other + 1}"'}
    else:
        fields |= {"Grid X": "32", "Grid Y": "1", "Grid Z": "1"}
        fields |= {"Block X": "128", "Block Y": "1", "Block Z": "1"}
        fields |= {"Registers Per Thread": "57", "Static SMem": "16.00000", "Dynamic SMem": "0"}
    return ",".join(fields.values())


def _device(number: int) -> str:
    return f'"Tesla V100-SXM2-32GB-LS ({number})"'
