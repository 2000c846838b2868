"""The machine's tables fit a terminal of 80 columns and hide nothing."""

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from topout.records import (
    BandwidthCeiling,
    Cache,
    Ceilings,
    Compiler,
    ComputeCeiling,
    Doubt,
    Gpu,
    KeptMeasurement,
    Machine,
    MachineReport,
    OverheadCeiling,
    TorchBuild,
)
from topout.report import describe
from topout.report.to_terminal import to_terminal

MACHINE = Machine(
    host_key="0123456789abcdef",
    hostname="node01",
    os="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0",
    architecture="x86_64",
    cpu_model="AMD EPYC 9654 96-Core Processor",
    sockets=2,
    physical_cores=192,
    logical_cpus=384,
    threads_per_core=2,
    usable_cpus=16,
    numa_nodes=2,
    caches=[
        Cache(name="L1d", size_bytes=32768, instances=192),
        Cache(name="L3", size_bytes=32 << 20, instances=24),
    ],
    vector_isa=["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"],
    clock_max_hz=3.7e9,
    memory_bytes=768 << 30,
    page_bytes=4096,
    transparent_huge_pages="madvise",
    gpus=[Gpu(name="NVIDIA A100-SXM4-80GB", memory_bytes=80 << 30)],
    compiler=Compiler(path="/usr/bin/g++", version="g++ (Debian 12.2.0-14) 12.2.0"),
    torch=TorchBuild(version="2.13.0", cpu_capability="AVX512", blas="mkl", cuda="12.8"),
    reasons={"hardware_counters": "not permitted", "usable_cpus": "the container's quota"},
)


def ceilings(threads: list[int]) -> Ceilings:
    return Ceilings(
        host_key=MACHINE.host_key,
        device="cpu",
        measured_at="2026-01-01T00:00:00+00:00",
        elapsed_s=1.0,
        quick=True,
        clock_hz=3.5e9,
        compute=[
            ComputeCeiling(
                dtype=dtype,
                threads=n,
                instruction="avx512 vpdpbusd" if dtype == "int8" else "avx512 fma",
                flops_per_s=1.25e11 * n,
                samples=[1.0],
            )
            for n in threads
            for dtype in ("fp32", "int8")
        ],
        bandwidth=[
            BandwidthCeiling(
                level=level,
                threads=n,
                page=page,
                working_set_bytes=size,
                bytes_per_s=rate,
                samples=[rate],
            )
            for n in threads
            for level, page, size, rate in (
                ("L1", "huge", 1 << 14, 4.0e11),
                ("DRAM", "huge", 1 << 26, 9.9e10),
                ("DRAM", "huge", 1 << 28, 2.1e10),
                ("DRAM", "4 KiB", 1 << 28, 1.9e10),
            )
        ],
        overheads=[
            OverheadCeiling(name="kernel_call", threads=1, time_s=7.1e-8, samples=[7.1e-8]),
            OverheadCeiling(name="thread_barrier", threads=2, time_s=2e-7, samples=[2e-7]),
            OverheadCeiling(name="something_new", threads=1, time_s=1e-6, samples=[1e-6]),
        ],
        doubts=[Doubt(about="load", sentence="Other programs ran.", remedy="Stop them.")],
        reasons={"compute.bf16": "no bf16 dot product"},
    )


def shown(report: MachineReport, width: int = 80) -> str:
    console = Console(width=width, file=StringIO(), force_terminal=False)
    console.print(to_terminal(describe(report)))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_every_fact_is_shown() -> None:
    text = shown(MachineReport(machine=MACHINE, ceilings=ceilings([1, 2])))
    for fact in (
        "AMD EPYC 9654",
        "2 sockets, 192 cores, 384 CPUs, 2 NUMA nodes, SMT × 2, 16 usable",
        "L1d 32.0 KiB × 192",
        "avx512_bf16",
        "at most 3.70 GHz",
        "768 GiB",
        "huge pages: madvise",
        "not permitted",
        "NVIDIA A100-SXM4-80GB, 80.0 GiB",
        "2.13.0, AVX512, mkl, CUDA 12.8",
        "fp32, avx512 fma",
        "125 GFLOP/s",
        "250 GOP/s",
        "400 GB/s",
        "21.0 GB/s",
        "19.0 GB/s",
        "71.0 ns",
        "something_new",
        "no bf16 dot product",
        "Other programs ran. Stop them.",
        "clock 3.50 GHz",
    ):
        assert fact in text, fact
    # Memory's figure is that of the largest set.
    assert "99.0 GB/s" not in text


@pytest.mark.parametrize("threads", [[1], [1, 2, 4, 8], [1, 2, 4, 8, 16, 32, 64, 128]])
def test_eighty_columns_are_enough(threads: list[int]) -> None:
    text = shown(MachineReport(machine=MACHINE, ceilings=ceilings(threads)))
    assert max(map(len, text.splitlines())) <= 80
    assert f"{threads[-1]} thr." in text
    assert "…" not in text


def test_without_ceilings_the_reason_stands_there() -> None:
    report = MachineReport(machine=MACHINE, reasons={"ceilings": "not asked for"})
    assert "not asked for" in shown(report)


def test_gaps_are_shown_with_their_reasons() -> None:
    bare = Machine(
        host_key="",
        hostname="pi",
        os="Linux",
        kernel="6.1",
        architecture="aarch64",
        cpu_model="Cortex-A72",
        logical_cpus=4,
        usable_cpus=4,
        memory_bytes=0,
        page_bytes=4096,
        reasons={"caches": "the kernel shows none", "clock_max_hz": "no cpufreq"},
    )
    text = shown(MachineReport(machine=bare))
    assert "– (the kernel shows none)" in text
    assert "– (no cpufreq)" in text
    assert "no transparent huge pages" in text


def test_a_gpu_has_its_own_heading() -> None:
    of_gpu = msgspec.structs.replace(ceilings([1]), device="cuda", quick=False)
    assert "Ceilings of the GPU, measured" in shown(MachineReport(machine=MACHINE, ceilings=of_gpu))


def kept(
    second: int, *disturbances: str, stands: bool = False, quick: bool = False
) -> KeptMeasurement:
    return KeptMeasurement(
        measured_at=f"2026-01-01T00:00:{second:02}+00:00",
        quick=quick,
        stands=stands,
        flops_per_s=9.5e10,
        bytes_per_s=2.1e10,
        disturbances=list(disturbances),
    )


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([kept(3, "Others were busy.")], "a busy machine's figures replace no better ones"),
        ([kept(3, quick=True)], "was a quick one"),
        ([kept(1)], "stand: the newest ones."),
    ],
)
def test_which_measurement_stands_and_why(others: list[KeptMeasurement], words: str) -> None:
    measured = [kept(2, stands=True), *others]
    text = shown(MachineReport(machine=MACHINE, ceilings=ceilings([1]), kept=measured))
    assert words in " ".join(text.split())
    assert "95.0 GFLOP/s" in text
    alone = shown(MachineReport(machine=MACHINE, ceilings=ceilings([1]), kept=measured[:1]))
    assert "Measurements kept" not in alone


def test_of_two_disturbed_measurements_the_better_stands() -> None:
    measured = [kept(2, "Others.", stands=True), kept(3, "Others.")]
    text = shown(MachineReport(machine=MACHINE, ceilings=ceilings([1]), kept=measured))
    assert "was disturbed as well, and has lower figures" in " ".join(text.split())
