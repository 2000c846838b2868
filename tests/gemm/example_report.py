"""Comparisons as a 2-core machine gives them, with steps, rivals, failures and explanations."""

from topout.records import (
    BandwidthCeiling,
    Cache,
    Ceilings,
    ComputeCeiling,
    Doubt,
    Estimate,
    GemmExplanation,
    GemmReport,
    GemmResult,
    GemmShape,
    InstructionMix,
    LevelTraffic,
    Machine,
    PairedRatio,
    Verdict,
)
from topout.records.gemm import GemmDtype

CEILING = 235e9  # fp32 on 2 threads
MARKUP = "<script>alert(1)</script>"
_STEPS = {
    "naive": 1.6e9,
    "loop_order": 30e9,
    "tiled": 41e9,
    "packed": 40.9e9,
    "simd": 196e9,
    "threaded": 219e9,
    "prepacked": 226e9,
}
_RIVALS = {
    "pytorch": (201e9, False),
    "onednn": (208e9, False),
    "onednn_packed": (221e9, True),
}


def estimate(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(median=value, low=value * (1 - spread), high=value * (1 + spread))


def ratio(value: float, spread: float = 0.01) -> PairedRatio:
    low, high = value * (1 - spread), value * (1 + spread)
    verdict: Verdict = "not proven"
    if low > 1 / 1.05 and high < 1.05:
        verdict = "no difference"
    elif low > 1 and value >= 1.05:
        verdict = "faster"
    elif high < 1 and value <= 1 / 1.05:
        verdict = "slower"
    pairs = [low, value, high]
    return PairedRatio(median=value, low=low, high=high, pairs=pairs, verdict=verdict, error=0.05)


def machine() -> Machine:
    return Machine(
        host_key="example",
        hostname="example",
        os="Debian",
        kernel="6.1",
        architecture="x86_64",
        cpu_model="Example CPU",
        logical_cpus=2,
        usable_cpus=2,
        caches=[Cache(name="L1d", size_bytes=32 << 10), Cache(name="L2", size_bytes=1 << 20)],
        memory_bytes=8 << 30,
        page_bytes=4096,
    )


def ceilings() -> Ceilings:
    return Ceilings(
        host_key="example",
        device="cpu",
        measured_at="2026-01-01T00:00:00+00:00",
        elapsed_s=5.0,
        quick=True,
        compute=[
            ComputeCeiling(
                dtype="fp32",
                threads=threads,
                instruction="avx512 fma",
                flops_per_s=CEILING * threads / 2,
                samples=[CEILING * threads / 2],
            )
            for threads in (1, 2)
        ],
        bandwidth=[
            BandwidthCeiling(
                level=level,
                threads=threads,
                page="4 KiB",
                working_set_bytes=size,
                bytes_per_s=rate * threads / 2,
                samples=[rate * threads / 2],
            )
            for level, size, rate in (("L1", 32 << 10, 800e9), ("DRAM", 256 << 20, 44e9))
            for threads in (1, 2)
        ],
    )


def explanation() -> GemmExplanation:
    return GemmExplanation(
        traffic=[LevelTraffic(level="L1", bytes=12.5e6, source="blocking")],
        instructions=InstructionMix(
            function="gemm",
            multiply_adds=24,
            loads=10,
            stores=0,
            others=4,
            vector_bits=512,
            stack_references=0,
            per_multiply_add=1.58,
        ),
        events={"cycles": 3.1e7},
        sentences=["24 accumulators hide the latency of a multiply-add."],
        reasons={"simulation": "cachegrind is not installed"},
    )


def shape(
    m: int = 1024,
    n: int = 1024,
    k: int = 1024,
    *,
    threads: int = 2,
    dtype: GemmDtype = "fp32",
    label: str = "",
    calls: int = 1,
    explained: bool = False,
    rivals: bool = True,
) -> GemmShape:
    scale = threads / 2
    versions: list[GemmResult] = []
    previous = 0.0
    for name, rate in _STEPS.items():
        packed = name == "prepacked"
        rival = _RIVALS["onednn_packed" if packed else "onednn"][0]
        versions.append(
            GemmResult(
                name=name,
                status="measured",
                packed_ahead=packed,
                samples_s=[2 * m * n * k / rate / scale],
                flops_per_s=estimate(rate * scale),
                of_ceiling=rate / CEILING,
                error_of_bound=0.02,
                over_previous=ratio(rate / previous, 0.004) if previous else None,
                over_naive=ratio(rate / _STEPS["naive"]) if previous else None,
                over_best_rival=ratio(rate / rival) if rivals else None,
                explanation=explanation() if explained else None,
            )
        )
        previous = rate
    return GemmShape(
        m=m,
        n=n,
        k=k,
        dtype=dtype,
        threads=threads,
        label=label,
        calls=calls,
        flops=2 * m * n * k,
        arithmetic_intensity=2 * m * n * k / (4 * (m * k + k * n + m * n)),
        bound="compute",
        ceiling_flops_per_s=estimate(CEILING * scale),
        read_bytes_per_s=estimate(44e9 * scale),
        versions=versions,
        rivals=[
            GemmResult(
                name=name,
                status="measured",
                packed_ahead=packed,
                flops_per_s=estimate(rate * scale),
                of_ceiling=rate / CEILING,
                error_of_bound=0.01,
            )
            for name, (rate, packed) in (_RIVALS.items() if rivals else ())
        ],
    )


def failed(name: str, reason: str) -> GemmResult:
    return GemmResult(name=name, status="failed", reason=reason)


def report(*shapes: GemmShape, **fields: object) -> GemmReport:
    found = list(shapes) or [shape(threads=1), shape(threads=2, explained=True)]
    counts = sorted({each.threads for each in found})
    defaults: dict[str, object] = {
        "topout_version": "0.1.0",
        "created_at": "2026-11-21T08:00:00+00:00",
        "machine": machine(),
        "ceilings": ceilings(),
        "threads": counts[-1],
        "thread_counts": counts,
        "shapes": found,
        "findings": ["prepacked is the fastest version."],
        "doubts": [Doubt(about="machine", sentence="It is busy.", remedy="Wait.")],
        "reasons": {"rival": "missing"},
        "elapsed_s": 12.0,
    }
    return GemmReport(**{**defaults, **fields})  # type: ignore[arg-type]
