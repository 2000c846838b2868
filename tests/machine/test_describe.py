"""Discovery on recorded machines; every golden figure was counted by hand on the recording."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import topout.machine.describe as describe_module
from topout.machine.describe import describe, pinning_order
from topout.records import Cache, Machine, decode, encode

from .recorded_machine import RECORDED, describe_recorded, unfold

NAMES = sorted(path.name for path in RECORDED.iterdir())


def sizes(machine: Machine) -> dict[str, tuple[int, int | None]]:
    """Cache name → (KiB of one instance, instances)."""
    return {cache.name: (cache.size_bytes // 1024, cache.instances) for cache in machine.caches}


def counts(machine: Machine) -> tuple[int | None, ...]:
    """(sockets, cores, logical CPUs, threads per core, NUMA nodes, usable CPUs)"""
    return (
        machine.sockets,
        machine.physical_cores,
        machine.logical_cpus,
        machine.threads_per_core,
        machine.numa_nodes,
        machine.usable_cpus,
    )


def test_xeon_platinum_known_from_lscpu_alone(tmp_path: Path) -> None:
    machine = describe_recorded("xeon-platinum-8480-2s", tmp_path)
    assert machine.cpu_model == "Intel(R) Xeon(R) Platinum 8480+"
    assert counts(machine) == (2, 112, 224, 2, 2, 224)
    # lscpu rounds 112 × 48 KiB to "5.3 MiB".
    assert sizes(machine) == {
        "L1d": (48, 112),
        "L1i": (32, 112),
        "L2": (2048, 112),
        "L3": (105 * 1024, 2),
    }
    assert machine.vector_isa[-3:] == ["amx_tile", "amx_int8", "amx_bf16"]
    assert machine.vector_isa.index("avx2") < machine.vector_isa.index("avx512f")
    assert machine.clock_max_hz == 3.8e9
    assert machine.clock_base_hz is None
    assert "clock_base_hz" in machine.reasons


def test_xeon_e3_with_smt_and_no_avx2(tmp_path: Path) -> None:
    machine = describe_recorded("xeon-e3-1270-v2", tmp_path)
    assert counts(machine) == (1, 4, 8, 2, 1, 8)
    assert sizes(machine) == {"L1d": (32, 4), "L1i": (32, 4), "L2": (256, 4), "L3": (8192, 1)}
    assert machine.caches[0] == Cache(
        name="L1d", size_bytes=32768, line_bytes=64, shared_by_cpus=2, instances=4
    )
    assert machine.vector_isa == ["sse2", "ssse3", "sse4_1", "sse4_2", "avx", "f16c"]
    assert (machine.clock_base_hz, machine.clock_max_hz) == (3.5e9, 3.9e9)
    assert machine.memory_bytes == 16316412 * 1024
    assert machine.transparent_huge_pages == "madvise"
    assert machine.hypervisor is None
    assert (machine.hostname, machine.os, machine.kernel) == (
        "lab07",
        "Ubuntu 22.04.3 LTS",
        "5.15.0-91-generic",
    )


def test_epyc_virtual_machine_without_smt(tmp_path: Path) -> None:
    machine = describe_recorded("epyc-7b13-vm", tmp_path)
    assert counts(machine) == (1, 4, 4, 1, 1, 4)
    assert sizes(machine)["L3"] == (32768, 1)
    assert machine.hypervisor == "KVM"
    assert machine.cpu_vendor == "AuthenticAMD"
    assert machine.vector_isa[-2:] == ["fma", "avx2"]
    assert machine.clock_max_hz is None
    assert "clock_max_hz" in machine.reasons


def test_ryzen_bare_metal_with_smt(tmp_path: Path) -> None:
    machine = describe_recorded("ryzen-7-5800x", tmp_path)
    assert counts(machine) == (1, 8, 16, 2, 1, 16)
    assert sizes(machine) == {"L1d": (32, 8), "L1i": (32, 8), "L2": (512, 8), "L3": (32768, 1)}
    assert (machine.clock_base_hz, machine.clock_max_hz) == (3.801e9, 4.850195e9)
    assert machine.hypervisor is None
    assert machine.transparent_huge_pages == "always"


def test_graviton_has_no_model_name(tmp_path: Path) -> None:
    machine = describe_recorded("graviton3", tmp_path, "aarch64")
    assert machine.cpu_model == "Neoverse-V1"
    assert machine.cpu_vendor == "ARM"
    assert counts(machine) == (1, 4, 4, 1, 1, 4)
    assert machine.vector_isa == [
        "asimd",
        "fp16",
        "dotprod",
        "i8mm",
        "bf16",
        "sve",
        "svei8mm",
        "svebf16",
    ]
    assert machine.hypervisor == "Amazon EC2 c7g.xlarge"


def test_raspberry_pi_says_little(tmp_path: Path) -> None:
    machine = describe_recorded("raspberry-pi-4", tmp_path, "aarch64")
    assert machine.cpu_model == "Cortex-A72"
    assert counts(machine) == (1, 4, 4, 1, None, 4)
    assert machine.caches == []
    assert machine.vector_isa == ["asimd"]
    assert machine.clock_max_hz == 1.5e9
    assert machine.transparent_huge_pages is None
    assert {"caches", "transparent_huge_pages", "clock_base_hz"} <= machine.reasons.keys()


def test_apple_m1_has_two_kinds_of_core(tmp_path: Path) -> None:
    machine = describe_recorded("apple-m1-asahi", tmp_path, "aarch64", 16384)
    assert machine.cpu_model == "Apple M1 (Icestorm) + Apple M1 (Firestorm)"
    assert counts(machine) == (1, 8, 8, 1, 1, 8)
    assert machine.page_bytes == 16384
    assert machine.clock_max_hz == 3.204e9
    # Four caches of either size: the larger kind's stands for the level.
    assert sizes(machine) == {"L1d": (128, 8), "L1i": (192, 8), "L2": (12288, 2)}


def test_container_quota_and_mask_limit_what_is_usable(tmp_path: Path) -> None:
    machine = describe_recorded("container-quota", tmp_path)
    assert counts(machine) == (1, 4, 8, 2, 1, 1)
    assert machine.reasons["usable_cpus"] == "the container may use the time of 1.5 of 5 CPUs"
    assert machine.memory_bytes == 2 << 30
    assert "2147483648" in machine.reasons["memory_bytes"]
    assert machine.transparent_huge_pages == "never"


def test_offline_cpus_do_not_count(tmp_path: Path) -> None:
    machine = describe_recorded("two-sockets-smt-off", tmp_path)
    assert counts(machine) == (2, 8, 8, 1, 2, 8)
    assert sizes(machine)["L3"] == (10240, 2)
    # The sockets take turns.
    assert pinning_order(tmp_path / "two-sockets-smt-off") == [0, 4, 1, 5, 2, 6, 3, 7]


def test_threads_take_cores_before_siblings(tmp_path: Path) -> None:
    assert pinning_order(unfold("ryzen-7-5800x", tmp_path)) == list(range(16))
    # CPUs 0 to 3 are four cores, 6 is the sibling of 2.
    assert pinning_order(unfold("container-quota", tmp_path)) == [0, 1, 2, 3, 6]


@pytest.mark.parametrize("name", NAMES)
def test_every_gap_has_a_reason_and_the_record_round_trips(name: str, tmp_path: Path) -> None:
    machine = describe_recorded(name, tmp_path)
    for field in machine.__struct_fields__:
        if getattr(machine, field) is None:
            assert machine.reasons[field], field
    assert decode(encode(machine), Machine) == machine


def test_host_keys_differ_between_machines(tmp_path: Path) -> None:
    keys = {describe_recorded(name, tmp_path).host_key for name in NAMES}
    assert len(keys) == len(NAMES)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("proc/cpuinfo", " avx2 ", " "),
        ("proc/cpuinfo", "7B13", "7B14"),
        ("sys/devices/system/cpu/cpu0/cache/index3/size", "32768K", "16384K"),
        ("proc/self/status", "0-3", "0-2"),
        ("proc/meminfo", "16374584", "8187292"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[madvise] never", "madvise [never]"),
    ],
)
def test_host_key_follows_what_ceilings_depend_on(
    file: str, old: str, new: str, tmp_path: Path
) -> None:
    root = unfold("epyc-7b13-vm", tmp_path)
    before = describe(root, lscpu=(root / "lscpu.txt").read_text())
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
    after = describe(root, lscpu=(root / "lscpu.txt").read_text())
    assert before.host_key != after.host_key


def test_host_key_ignores_what_drifts(tmp_path: Path) -> None:
    root = unfold("epyc-7b13-vm", tmp_path)
    lscpu = (root / "lscpu.txt").read_text()
    before = describe(root, lscpu=lscpu)
    info = root / "proc/cpuinfo"
    info.write_text(info.read_text().replace("2449.998", "3012.345"))
    memory = root / "proc/meminfo"
    memory.write_text(memory.read_text().replace("16374584", "16370000"))
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/osrelease").write_text("6.9.1\n")
    assert describe(root, lscpu=lscpu).host_key == before.host_key


def test_an_empty_root_is_described_by_its_gaps(tmp_path: Path) -> None:
    machine = describe(tmp_path, lscpu="", architecture="x86_64")
    assert machine.cpu_model == "unknown"
    assert machine.logical_cpus == machine.usable_cpus == 1
    assert {"sockets", "caches", "memory_bytes"} <= machine.reasons.keys()


def test_this_machine() -> None:
    machine = describe()
    assert 1 <= machine.usable_cpus <= machine.logical_cpus
    assert machine.memory_bytes > 1 << 20
    assert len(machine.host_key) == 16
    assert machine.host_key == describe().host_key
    if machine.hardware_counters is not True:
        assert machine.reasons["hardware_counters"]


def test_torch_is_asked_only_on_request() -> None:
    code = (
        "import sys\n"
        "from topout.machine.describe import describe\n"
        "describe()\n"
        "assert 'torch' not in sys.modules\n"
        "import topout.machine.ceilings, topout.machine.torch_ceilings\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_with_torch_fills_in_its_build() -> None:
    build = describe(with_torch=True).torch
    assert build is not None
    assert build.cpu_capability


def test_a_recording_is_read_without_the_tools_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("lscpu") is None
    assert describe_recorded("graviton3", tmp_path, "aarch64").cpu_model == "Neoverse-V1"
    assert describe().cpu_model  # and this machine without lscpu and compiler
    assert "compiler" in describe().reasons


def test_the_name_that_py_cpuinfo_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts programs, none of them out of the current folder; its failure is no name."""
    program = tmp_path / "lscpu"
    program.write_text(f"#!/bin/sh\n: > {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f":{os.environ['PATH']}")
    describe_module._cpu_brand()
    assert not (tmp_path / "ran").exists()
    printed = {"{": None, "{}": None, '{"brand_raw": "A"}': "A", '{"brand_raw": 1}': None}
    for text, expected in printed.items():
        command = ["printf", "%s", text]
        monkeypatch.setattr(describe_module, "python_command", lambda *_, c=command: c)
        assert describe_module._cpu_brand() == expected
    monkeypatch.setattr(describe_module, "python_command", lambda *_: ["false"])
    assert describe_module._cpu_brand() is None
