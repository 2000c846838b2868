"""Reports of traces made by hand: one device, four GPUs, many ranks, names with markup."""

from typing import Any

from msgspec.structs import replace

from topout.records import (
    CollectiveTime,
    Communication,
    CriticalPart,
    DeviceTime,
    Doubt,
    GroupChange,
    GroupTime,
    IdleTime,
    KernelTime,
    MemoryPoint,
    TraceDiff,
    TraceReport,
    Transfer,
)

MARKUP = "<script>alert('&')</script>[bold]"
CREATED_AT = "2026-01-02T03:04:05+00:00"
GEMM = "ampere_sgemm_128x64_tn"
NCCL = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
CAST = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, "
    "at::detail::Array<char*, 3> >(int, at::native::CUDAFunctor_add<float>)"
)
# Compute, communication and memory in seconds, with what two of them cover together.
_COMPUTE, _COMMUNICATION, _MEMORY, _OVERLAP = 0.600, 0.250, 0.020, 0.100


def device(rank: int | None = 0, number: int = 0, late: float = 0.0, **changes: Any) -> DeviceTime:
    """One second of a GPU, 770 ms busy; a rank that is `late` seconds so waits less for others."""
    communication = _COMMUNICATION - late
    busy = _COMPUTE + communication + _MEMORY - _OVERLAP
    made = DeviceTime(
        rank=rank,
        device=number,
        name="NVIDIA A100-SXM4-80GB",
        file=f"rank{rank}.json.gz" if rank is not None else "run.csv",
        wall_s=1.0,
        busy_s=busy,
        idle_s=1.0 - busy,
        compute_s=_COMPUTE,
        communication_s=communication,
        memory_s=_MEMORY,
        overlap_s=_OVERLAP,
        exposed_communication_s=communication - _OVERLAP,
        utilization=busy,
        occupancy=0.43,
        kernels=[
            _kernel(GEMM, "matrix-mul", 480, 0.450),
            _kernel(NCCL, "communication", 12, communication),
            _kernel(CAST, "element-wise", 900, 0.110),
            _kernel("Memcpy HtoD (Pinned -> Device)", "memory", 24, 0.020),
            _kernel("odd_kernel", "other", 3, 0.040),
        ],
        groups=[
            _group("matrix-mul", 480, 0.450, GEMM),
            _group("communication", 12, communication, NCCL),
            _group("element-wise", 900, 0.110, CAST),
            _group("other", 3, 0.040, "odd_kernel"),
            _group("memory", 24, 0.020, "Memcpy HtoD (Pinned -> Device)"),
        ],
        idle=[
            IdleTime(cause="host", gaps=120, total_s=(1.0 - busy) * 0.6, share=0.6),
            IdleTime(cause="communication", gaps=12, total_s=(1.0 - busy) * 0.3, share=0.3),
            IdleTime(cause="other", gaps=7, total_s=(1.0 - busy) * 0.1, share=0.1),
        ],
        critical_path=[
            CriticalPart(name="matrix-mul", total_s=0.200, share=0.5),
            CriticalPart(name="communication", total_s=0.120, share=0.3),
            CriticalPart(name="host", total_s=0.080, share=0.2),
        ],
        memory=[
            MemoryPoint(at_s=0.0, allocated_bytes=2 << 30, reserved_bytes=4 << 30),
            MemoryPoint(at_s=0.4, allocated_bytes=(7 + number) << 30, reserved_bytes=9 << 30),
            MemoryPoint(at_s=0.9, allocated_bytes=3 << 30, reserved_bytes=9 << 30),
        ],
    )
    return replace(made, **changes)


def _kernel(name: str, group: str, calls: int, total_s: float) -> KernelTime:
    mean = total_s / calls
    return KernelTime(
        name=name,
        group=group,
        calls=calls,
        total_s=total_s,
        mean_s=mean,
        min_s=mean * 0.5,
        max_s=mean * 3,
        share=total_s / 0.87,
    )


def _group(name: str, calls: int, total_s: float, example: str) -> GroupTime:
    return GroupTime(
        name=name, calls=calls, total_s=total_s, share=total_s / 0.87, examples=[example]
    )


def host_report() -> TraceReport:
    """A trace without device events: the CPU alone."""
    cpu = device(
        number=-1,
        name=None,
        file="cpu.json",
        busy_s=0.9,
        idle_s=0.1,
        compute_s=0.9,
        communication_s=0.0,
        memory_s=0.0,
        overlap_s=0.0,
        exposed_communication_s=0.0,
        utilization=0.9,
        occupancy=None,
        kernels=[_kernel("aten::addmm", "matrix-mul", 100, 0.9)],
        groups=[_group("matrix-mul", 100, 0.9, "aten::addmm")],
        idle=[],
        critical_path=[],
        memory=[],
        reasons={"occupancy": "no kernel ran on a device"},
    )
    return TraceReport(
        topout_version="0.1.0",
        created_at=CREATED_AT,
        files=["cpu.json"],
        format="kineto",
        events=12_345,
        ranks=[cpu],
        findings=["Matrix products take 100 % of the time."],
        reasons={"communication": "one rank alone sends nothing"},
    )


def gpus_report(count: int = 4) -> TraceReport:
    """`count` ranks with a GPU each; the last one is late at every all-reduce."""
    ranks = [device(rank, late=0.1 if rank == count - 1 else 0.0) for rank in range(count)]
    return TraceReport(
        topout_version="0.1.0",
        created_at=CREATED_AT,
        files=[each.file for each in ranks],
        format="kineto",
        world_size=count,
        events=1_234_567 * count,
        ranks=ranks,
        communication=Communication(
            unit="rank",
            transfers=_ring(count),
            collectives=[
                CollectiveTime(
                    name="all_reduce",
                    group="default_pg",
                    group_size=count,
                    calls=12,
                    bytes=500_000_000,
                    sent_bytes=2 * (count - 1) * 500_000_000 // count,
                    total_s=0.225,
                    transfer_s=0.150,
                    waiting_s=0.075,
                    late_rank=count - 1,
                    bus_bandwidth_bytes_per_s=5e9,
                ),
                CollectiveTime(
                    name="broadcast",
                    calls=2,
                    total_s=0.004,
                    reason="the trace does not say how large its messages are",
                ),
            ],
        ),
        findings=[
            f"Rank {count - 1} is late at every all-reduce: the others wait 75.0 ms for it.",
            "Communication takes 28 % of the busy time, and 60 % of it is not hidden.",
        ],
        doubts=[
            Doubt(
                about="clocks",
                sentence="The clocks of the hosts differ by 312 µs.",
                remedy="Ranks were aligned at the ends of collectives.",
            )
        ],
        elapsed_s=2.5,
    )


def _ring(count: int) -> list[Transfer]:
    return [
        Transfer(
            source=rank,
            destination=(rank + 1) % count,
            bytes=2 * (count - 1) * 500_000_000 // count,
            total_s=0.15,
            calls=12,
        )
        for rank in range(count)
    ]


def devices_report() -> TraceReport:
    """One process with two GPUs and copies between them and the host, as nvprof writes it."""
    return TraceReport(
        topout_version="0.1.0",
        created_at=CREATED_AT,
        files=["run.csv"],
        format="nvprof_csv",
        events=9_999,
        ranks=[device(None, 0, memory=[]), device(None, 1, memory=[])],
        communication=Communication(
            transfers=[
                Transfer(source=-1, destination=0, bytes=1_000_000, total_s=0.001, calls=3),
                Transfer(source=0, destination=1, bytes=64_000_000, total_s=0.004, calls=9),
            ]
        ),
    )


def marked_up_report() -> TraceReport:
    """Every text of the report is markup."""
    report = gpus_report(2)
    one = device(
        name=MARKUP,
        file=MARKUP,
        kernels=[_kernel(MARKUP, MARKUP, 3, 0.6)],
        groups=[_group(MARKUP, 3, 0.6, MARKUP)],
        critical_path=[CriticalPart(name=MARKUP, total_s=0.4, share=1.0)],
        reasons={MARKUP: MARKUP},
    )
    collective = replace(report.communication.collectives[0], name=MARKUP, group=MARKUP)
    return replace(
        report,
        files=[MARKUP],
        ranks=[one, replace(one, rank=1)],
        communication=replace(
            report.communication, collectives=[collective], reasons={MARKUP: MARKUP}
        ),
        findings=[MARKUP],
        doubts=[Doubt(about=MARKUP, sentence=MARKUP, remedy=MARKUP)],
        reasons={MARKUP: MARKUP},
    )


def empty_report() -> TraceReport:
    """A trace in which nothing was found."""
    return TraceReport(
        topout_version="0.1.0",
        created_at=CREATED_AT,
        files=["nothing.json"],
        format="kineto",
        events=0,
        reasons={"ranks": "the trace has no events with a duration"},
    )


def change(
    name: str, before_s: float, after_s: float, calls: tuple[int, int] = (10, 10)
) -> GroupChange:
    """A group or kernel in two traces."""
    return GroupChange(
        name=name,
        before_s=before_s,
        after_s=after_s,
        before_calls=calls[0],
        after_calls=calls[1],
        change_s=after_s - before_s,
        ratio=after_s / before_s if before_s else None,
    )


def diff_report(**changes: Any) -> TraceDiff:
    """Matrix products got faster, copies slower; one kernel is new, one is gone."""
    made = TraceDiff(
        topout_version="0.1.0",
        created_at=CREATED_AT,
        before="before.json.gz",
        after="after.json.gz",
        per_step=True,
        wall_before_s=0.100,
        wall_after_s=0.090,
        groups=[
            change("matrix-mul", 0.060, 0.040),
            change("memory", 0.010, 0.020, (10, 40)),
            change("element-wise", 0.020, 0.020),
        ],
        kernels=[
            change(GEMM, 0.060, 0.0, (48, 0)),
            change("sm90_xmma_gemm_bf16", 0.0, 0.040, (0, 48)),
            change("Memcpy HtoD (Pinned -> Device)", 0.010, 0.020, (10, 40)),
            change(CAST, 0.020, 0.020),
        ],
        findings=["A step takes 90.0 ms where it took 100 ms: 10 % less."],
        doubts=[Doubt(about="steps", sentence="Only 2 steps.", remedy="Record more.")],
    )
    return replace(made, **changes)
