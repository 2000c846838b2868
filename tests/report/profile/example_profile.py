"""Profiles made by hand."""

from typing import Any

from msgspec.structs import replace

from topout.records import (
    Doubt,
    ElapsedTime,
    Estimate,
    GapTime,
    GroupTime,
    MemoryPoint,
    MemoryTrack,
    OperatorRate,
    OperatorShape,
    OperatorTime,
    PairedRatio,
    PartTime,
    PhaseProfile,
    ProfileReport,
    RegionTime,
    ThreadTime,
    TimelineSpan,
    UncountedOperator,
)

from ..example_climb import MARKUP, example_climb, example_machine

__all__ = ["MARKUP", "example_phase", "example_profile"]


def example_profile(name: str = "tiny", **changes: Any) -> ProfileReport:
    """Decode of a model, 10 ms of it."""
    climb = example_climb()
    report = ProfileReport(
        topout_version="0.1.0",
        created_at="2026-01-02T03:04:05+00:00",
        elapsed_s=3.0,
        subject=name,
        machine=example_machine(),
        ceilings=climb.ceilings,
        model=climb.model,
        workload=climb.workload,
        backend="decoder",
        threads=2,
        weight_bytes=30 << 20,
        phases=[example_phase()],
        memory=[
            MemoryTrack(
                device=-1,
                name="host",
                points=[
                    MemoryPoint(at_s=0.0, allocated_bytes=1 << 20),
                    MemoryPoint(at_s=0.01, allocated_bytes=3 << 20),
                ],
                peak_allocated_bytes=3 << 20,
                resident=[
                    MemoryPoint(at_s=0.0, allocated_bytes=400 << 20),
                    MemoryPoint(at_s=0.01, allocated_bytes=401 << 20),
                ],
                peak_resident_bytes=401 << 20,
            )
        ],
        exports=["topout-runs/trace.json.gz"],
        findings=["Decode spends its time in aten::addmm 60 %."],
        doubts=[Doubt(about="machine", sentence="Others run.", remedy="Close them.")],
    )
    return replace(report, **changes)


def example_phase(operator: str = "aten::addmm", part: str = "mlp.up") -> PhaseProfile:
    """10 ms: 6 ms of products, 2 ms of views, 2 ms of gaps."""
    return PhaseProfile(
        name="decode",
        passes=2,
        wall_s=0.01001,
        traced_s=0.01,
        operators_s=0.008,
        gap_s=0.002,
        unprofiled_s=Estimate(median=0.008, low=0.0079, high=0.0081),
        slowdown=PairedRatio(median=1.25, low=1.2, high=1.3, pairs=[1.2, 1.3]),
        operators=[
            OperatorTime(
                name=operator,
                calls=4,
                self_s=0.006,
                self_share=0.6,
                total_s=0.006,
                mean_s=0.0015,
                shapes=[
                    OperatorShape(shapes="[1, 8] [8, 9]", calls=4, self_s=0.006, total_s=0.006)
                ],
            ),
            OperatorTime(
                name="aten::view", calls=9, self_s=0.002, self_share=0.2, total_s=0.002, mean_s=2e-4
            ),
        ],
        regions=[
            RegionTime(
                name=f"blocks.0.{part}",
                part=f"blocks.*.{part}",
                calls=2,
                total_s=0.009,
                self_s=0.009,
                self_share=0.9,
                operator_s=0.008,
                gap_s=0.001,
            )
        ],
        parts=[
            PartTime(
                name=part,
                calls=2,
                total_s=0.009,
                self_s=0.009,
                self_share=0.9,
                operator_s=0.008,
                gap_s=0.001,
                backward_s=0.003,
            )
        ],
        groups=[
            GroupTime(name="matrix-mul", calls=4, total_s=0.006, share=0.75, examples=[operator])
        ],
        rates=[
            OperatorRate(
                name=operator,
                part=part,
                family="product",
                calls=4,
                time_s=0.006,
                flops=300_000_000,
                bytes=60_000_000,
                flops_per_s=5e10,
                bytes_per_s=1e10,
                arithmetic_intensity=5.0,
                of_compute_ceiling=0.42,
                of_bandwidth_ceiling=0.41,
                level="DRAM",
                bound="overhead",
            )
        ],
        uncounted=[
            UncountedOperator(name="mine::scan", calls=1, total_s=1e-4, reason="no formula")
        ],
        gaps=[GapTime(part=part, total_s=0.001, share=0.1)],
        elapsed=ElapsedTime(
            wall_s=0.008,
            user_s=0.006,
            system_s=0.001,
            processor_share=0.4375,
            threads=[
                ThreadTime(
                    name="MainThread", thread=77, user_s=0.006, system_s=0.001, waiting_s=0.001
                )
            ],
        ),
        timeline=[
            TimelineSpan(
                name="decode token 1", kind="region", depth=0, start_s=0.0, duration_s=0.005
            ),
            TimelineSpan(
                name=f"blocks.0.{part}", kind="region", depth=1, start_s=0.001, duration_s=0.004
            ),
            TimelineSpan(name=operator, kind="operator", depth=2, start_s=0.001, duration_s=0.003),
        ],
        timeline_pass="decode token 1",
    )
