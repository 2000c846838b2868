"""This machine as hardware: figures of most threads, the catalog's where the device is known."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from topout.errors import InputError
from topout.machine.catalog.find import (
    check_hardware,
    find_hardware,
    save_hardware,
    shipped_hardware,
)
from topout.machine.catalog.measured import hardware_of
from topout.records import (
    BandwidthCeiling,
    Cache,
    Ceilings,
    ComputeCeiling,
    Dtype,
    Gpu,
    Hardware,
    Machine,
    MemoryLevel,
)


def machine(**changes: Any) -> Machine:
    whole = Machine(
        host_key="k",
        hostname="box",
        os="Linux",
        kernel="6",
        architecture="x86_64",
        cpu_model="Some CPU",
        cpu_vendor="GenuineIntel",
        sockets=1,
        physical_cores=4,
        logical_cpus=8,
        usable_cpus=4,
        caches=[
            Cache(name="L1d", size_bytes=32 << 10, instances=4),
            Cache(name="L1i", size_bytes=32 << 10, instances=4),
            Cache(name="L2", size_bytes=1 << 20, instances=4),
            Cache(name="L3", size_bytes=8 << 20, instances=1),
        ],
        vector_isa=["avx2", "fma"],
        memory_bytes=16 << 30,
        page_bytes=4096,
    )
    return msgspec.structs.replace(whole, **changes)


def compute(
    dtype: Dtype, threads: int, rate: float, instruction: str = "avx2 fma"
) -> ComputeCeiling:
    return ComputeCeiling(
        dtype=dtype, threads=threads, instruction=instruction, flops_per_s=rate, samples=[rate]
    )


def bandwidth(
    level: str, threads: int, size: int, rate: float, page: str = "huge"
) -> BandwidthCeiling:
    return BandwidthCeiling(
        level=level,
        threads=threads,
        page=page,
        working_set_bytes=size,
        bytes_per_s=rate,
        samples=[rate],
    )


def ceilings(device: str = "cpu", **changes: Any) -> Ceilings:
    whole = Ceilings(
        host_key="k",
        device=device,
        measured_at="2026-02-03T04:05:06+00:00",
        elapsed_s=1.0,
        quick=False,
        clock_hz=3.1e9,
        compute=[compute("fp32", 1, 9e10), compute("fp32", 4, 3e11), compute("fp32", 4, 2e11)],
        bandwidth=[
            bandwidth("L2", 1, 1 << 19, 9e10),
            bandwidth("L2", 4, 1 << 21, 3e11),
            bandwidth("DRAM", 4, 1 << 27, 9e10),
            bandwidth("DRAM", 4, 1 << 30, 4e10),
            bandwidth("DRAM", 4, 1 << 30, 3.5e10, "4 KiB"),
        ],
        reasons={"compute.bf16": "no such instruction", "overheads.torch_op": "no PyTorch"},
    )
    return msgspec.structs.replace(whole, **changes)


def level(hardware: Hardware, name: str) -> MemoryLevel:
    return next(each for each in hardware.levels if each.name == name)


def test_a_cpu_carries_what_all_its_threads_reached():
    hardware = hardware_of(machine(), ceilings())
    check_hardware(hardware, "here")
    assert hardware.name == "here"
    assert [each.name for each in hardware.levels] == ["L1", "L2", "L3", "DRAM"]
    assert [each.capacity_bytes for each in hardware.levels] == [
        4 * (32 << 10),
        4 << 20,
        8 << 20,
        16 << 30,
    ]
    (peak,) = hardware.compute
    assert (peak.dtype, peak.unit, peak.achievable_flops_per_s) == ("fp32", "vector", 3e11)
    assert peak.achievable_source == "measured by topout on 2026-02-03, 4 threads (avx2 fma)"
    assert level(hardware, "L2").achievable_bytes_per_s == 3e11
    assert level(hardware, "L1").achievable_bytes_per_s is None
    # Of memory the largest set counts: the smaller one was served by the last cache in part.
    assert level(hardware, "DRAM").achievable_bytes_per_s == 4e10
    assert hardware.ceilings is not None
    assert hardware.clock_hz == 3.1e9


def test_what_a_cpu_does_not_tell_is_absent_with_a_reason():
    hardware = hardware_of(machine(), ceilings())
    assert hardware.compute[0].spec_flops_per_s is None
    assert {"compute.bf16", "compute.spec", "levels.spec", "links"} <= set(hardware.reasons)
    assert "overheads.torch_op" not in hardware.reasons


def test_amx_through_pytorch_is_a_matrix_unit():
    rates = [
        compute("bf16", 4, 1e12, "avx512 vdpbf16ps"),
        compute("bf16", 4, 9e12, "torch matmul"),
        compute("fp32", 4, 1e12, "torch matmul"),
    ]
    isa = ["avx512f", "amx_tile", "amx_bf16"]
    hardware = hardware_of(machine(vector_isa=isa), ceilings(compute=rates))
    found = {(p.dtype, p.unit): p.achievable_flops_per_s for p in hardware.compute}
    assert found == {
        ("bf16", "vector"): 1e12,
        ("bf16", "matrix"): 9e12,
        ("fp32", "vector"): 1e12,
    }
    without = hardware_of(machine(), ceilings(compute=rates[1:2]))
    assert without.compute[0].unit == "vector"


def test_a_cpu_of_the_catalog_takes_its_datasheet_only_as_a_whole():
    name = "Intel(R) Xeon(R) CPU E3-1270 V2 @ 3.50GHz"
    hardware = hardware_of(machine(cpu_model=name), ceilings())
    fp32 = next(p for p in hardware.compute if p.dtype == "fp32")
    assert (fp32.spec_flops_per_s, fp32.achievable_flops_per_s) == (224e9, 3e11)
    assert level(hardware, "DRAM").spec_bytes_per_s == 25.6e9
    assert level(hardware, "DRAM").capacity_bytes == 16 << 30
    part = hardware_of(machine(cpu_model=name, usable_cpus=2), ceilings())
    assert all(p.spec_flops_per_s is None for p in part.compute)


def gpu(name: str, capability: str = "9.0") -> Gpu:
    return Gpu(
        name=name, memory_bytes=143771 << 20, compute_capability=capability, clock_max_hz=1.98e9
    )


def cuda_ceilings() -> Ceilings:
    return ceilings(
        "cuda",
        compute=[
            compute("fp32", 1, 5e13, "cuda matmul"),
            compute("bf16", 1, 7.9e14, "cuda matmul"),
        ],
        bandwidth=[
            bandwidth("L2", 1, 25 << 20, 9e12, "device"),
            bandwidth("HBM", 1, 4 << 30, 4.2e12, "device"),
        ],
        reasons={},
    )


def test_a_gpu_of_the_catalog_takes_its_datasheet_and_links():
    hardware = hardware_of(machine(gpus=[gpu("NVIDIA H200")]), cuda_ceilings(), name="node")
    check_hardware(hardware, "node")
    found = {(p.dtype, p.unit): p for p in hardware.compute}
    bf16 = found["bf16", "matrix"]
    assert (bf16.spec_flops_per_s, bf16.achievable_flops_per_s) == (989.4e12, 7.9e14)
    assert bf16.achievable_source == "measured by topout on 2026-02-03 (cuda matmul)"
    # What was not measured here keeps what was published.
    assert found["fp8", "matrix"] == next(
        p for p in shipped_hardware("h200").compute if p.dtype == "fp8"
    )
    assert [each.name for each in hardware.levels] == ["L1", "L2", "HBM"]
    assert level(hardware, "HBM").spec_bytes_per_s == 4800e9
    assert level(hardware, "HBM").achievable_bytes_per_s == 4.2e12
    assert level(hardware, "L2").capacity_bytes == 50 << 20
    assert hardware.links == shipped_hardware("h200").links
    assert hardware.device == "gpu"


def test_a_gpu_that_the_catalog_does_not_know_has_what_was_measured():
    hardware = hardware_of(machine(gpus=[gpu("NVIDIA Strange", "6.1")]), cuda_ceilings())
    check_hardware(hardware, "here")
    assert {(p.dtype, p.unit) for p in hardware.compute} == {("fp32", "vector"), ("bf16", "vector")}
    assert "NVIDIA Strange" in hardware.reasons["compute.spec"]
    assert not hardware.links


def test_figures_of_another_host_or_of_no_device_are_refused():
    with pytest.raises(InputError, match="another machine"):
        hardware_of(machine(host_key="other"), ceilings())
    with pytest.raises(InputError, match="no GPU"):
        hardware_of(machine(), cuda_ceilings())
    with pytest.raises(InputError, match="memory"):
        hardware_of(machine(memory_bytes=0), ceilings())


def test_ceilings_without_a_figure_leave_gaps():
    hardware = hardware_of(machine(caches=[]), ceilings(compute=[], bandwidth=[]))
    check_hardware(hardware, "here")
    assert hardware.compute == []
    assert hardware.levels == [MemoryLevel(name="DRAM", capacity_bytes=16 << 30)]


def test_what_was_measured_is_saved_and_found_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))
    hardware = hardware_of(machine(), ceilings(), name="laptop")
    save_hardware(hardware, "laptop")
    assert find_hardware("laptop") == hardware
