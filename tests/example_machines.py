"""Machines with round figures, for whatever is drawn or computed from their roofs."""

from topout.records import (
    BandwidthCeiling,
    Ceilings,
    ComputeCeiling,
    ComputePeak,
    Dtype,
    Estimate,
    Example,
    Hardware,
    MeasuredExample,
    MemoryLevel,
    PeakDtype,
)

MIB = 1 << 20
HOST_KEY = "0123456789abcdef"


def peak(
    dtype: PeakDtype, unit: str, spec: float | None, achievable: float | None = None
) -> ComputePeak:
    assert unit in ("vector", "matrix")
    return ComputePeak(
        dtype=dtype,
        unit="vector" if unit == "vector" else "matrix",
        spec_flops_per_s=spec,
        achievable_flops_per_s=achievable,
    )


def gpu(name: str = "gpu") -> Hardware:
    """After an A100: 312 TFLOP/s of fp16 and 1.5 TB/s, so that the ridge is at 208 FLOP/byte."""
    return Hardware(
        name=name,
        full_name="An accelerator",
        device="gpu",
        vendor="nobody",
        memory_bytes=40_000_000_000,
        compute=[
            peak("fp64", "vector", 9.7e12),
            peak("fp64", "matrix", 19.5e12),
            peak("fp32", "vector", 19.5e12),
            peak("fp16", "matrix", 312e12),
            peak("bf16", "matrix", 312e12, 271e12),
            peak("int8", "matrix", 624e12),
        ],
        levels=[
            MemoryLevel(name="L2", capacity_bytes=40 * MIB, spec_bytes_per_s=5e12),
            MemoryLevel(name="HBM", capacity_bytes=40_000_000_000, spec_bytes_per_s=1.5e12),
        ],
    )


def ceilings() -> Ceilings:
    """Of 1 and 2 threads; 2 reach 100 GFLOP/s of fp32, and 20 GB/s from memory."""
    arithmetic: list[tuple[Dtype, int, float]] = [
        ("fp32", 1, 60e9),
        ("fp32", 2, 100e9),
        ("bf16", 2, 200e9),
        ("int8", 2, 400e9),
    ]
    bandwidths = [
        ("L1", 2, 32 << 10, 400e9),
        ("L2", 2, 1 * MIB, 390e9),  # close to L1, as on many CPUs
        ("L3", 2, 16 * MIB, 80e9),
        ("DRAM", 2, 64 * MIB, 30e9),  # in part still from L3
        ("DRAM", 2, 256 * MIB, 20e9),
        ("DRAM", 1, 256 * MIB, 15e9),
    ]
    return Ceilings(
        host_key=HOST_KEY,
        device="cpu",
        measured_at="2024-05-01T10:00:00+00:00",
        elapsed_s=1.0,
        quick=False,
        compute=[
            ComputeCeiling(
                dtype=dtype, threads=threads, instruction="fma", flops_per_s=rate, samples=[rate]
            )
            for dtype, threads, rate in arithmetic
        ],
        bandwidth=[
            BandwidthCeiling(
                level=level,
                threads=threads,
                page="huge",
                working_set_bytes=size,
                bytes_per_s=rate,
                samples=[rate],
            )
            for level, threads, size, rate in bandwidths
        ],
    )


def cpu() -> Hardware:
    """A machine of which only the measured ceilings are known."""
    return Hardware(
        name="here",
        full_name="A processor",
        device="cpu",
        vendor="nobody",
        memory_bytes=8_000_000_000,
        ceilings=ceilings(),
    )


def empty() -> Hardware:
    """A machine whose file states no rate at all."""
    return Hardware(
        name="bare", full_name="Bare", device="gpu", vendor="nobody", memory_bytes=1_000_000_000
    )


def run_of(
    example: Example, flops_per_s: float, read_bytes_per_s: list[float] | None = None
) -> MeasuredExample:
    """The example as if it had run on `cpu()` at this rate."""
    seconds = example.flops / flops_per_s
    samples = [seconds * 0.98, seconds, seconds * 1.02]
    return MeasuredExample(
        name=example.name,
        n=example.n,
        host_key=HOST_KEY,
        threads=2,
        kernel="native daxpy",
        flops=example.flops,
        working_set_bytes=example.working_set_bytes,
        samples_s=samples,
        time_s=Estimate(median=seconds, low=samples[0], high=samples[-1]),
        flops_per_s=Estimate(median=flops_per_s, low=flops_per_s / 1.02, high=flops_per_s / 0.98),
        largest_error=2.2e-16,
        read_bytes_per_s=read_bytes_per_s or [],
    )
