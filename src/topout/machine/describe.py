"""What this machine is, from /proc, /sys, lscpu and drivers, with a reason for every gap."""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from topout.errors import CompilerError
from topout.extras import is_installed
from topout.kernels.build import find_compiler
from topout.machine.processor import Processor, can_count_events, read_processor
from topout.machine.topology import (
    Limits,
    SystemFiles,
    Topology,
    parse_lscpu,
    read_limits,
    read_topology,
    spread_over_cores,
)
from topout.measure.process import field_bytes
from topout.programs import child_environment, python_command
from topout.records import Compiler, Gpu, Machine, TorchBuild

_RECORDED = "not part of a recorded machine"


def describe(
    root: Path = Path("/"),
    *,
    lscpu: str | None = None,
    architecture: str | None = None,
    page_bytes: int | None = None,
    with_torch: bool = False,
) -> Machine:
    """The machine whose /proc and /sys are below `root`; by default this one.

    `lscpu`, `architecture` and `page_bytes` come with a recorded machine. `with_torch` imports
    torch (1–2 s) for its CPU capability, BLAS and CUDA.
    """
    live = root == Path("/")
    files = SystemFiles(root)
    fields = parse_lscpu(_run_lscpu() if live and lscpu is None else lscpu or "")
    topology = read_topology(files, fields)
    processor = read_processor(files, fields)
    limits = read_limits(files)
    if live:
        topology, processor = _ask_libraries(topology, processor)
    found = _Findings(
        files=files,
        live=live,
        architecture=architecture or fields.get("Architecture") or platform.machine(),
        page_bytes=page_bytes or os.sysconf("SC_PAGE_SIZE"),
        topology=topology,
        processor=processor,
        limits=limits,
        reasons={},
    )
    return _assemble(found, with_torch)


def pinning_order(root: Path = Path("/")) -> list[int]:
    """The CPUs this process may use, in the order in which threads should take them."""
    files = SystemFiles(root)
    cpus = read_topology(files, {}).cpus
    online = [cpu.number for cpu in cpus]
    allowed = read_limits(files).allowed_cpus or online
    return spread_over_cores(cpus, [cpu for cpu in allowed if not cpus or cpu in online])


class _Findings(NamedTuple):
    files: SystemFiles
    live: bool
    architecture: str
    page_bytes: int
    topology: Topology
    processor: Processor
    limits: Limits
    reasons: dict[str, str]

    def known(self, field: str, value: Any, reason: str) -> Any:
        """`value`, and when it is None the reason put down under the field's name."""
        if value is None:
            self.reasons[field] = reason
        return value


def _assemble(found: _Findings, with_torch: bool) -> Machine:
    """All parts in one record; `host_key` is computed last, over the rest."""
    topology, processor, files = found.topology, found.processor, found.files
    not_shown = "neither sysfs nor lscpu shows it"
    counters, counters_reason = can_count_events(files) if found.live else (None, _RECORDED)
    if counters is not True:
        found.reasons["hardware_counters"] = counters_reason
    gpus, gpus_reason = read_gpus() if found.live else ([], _RECORDED)
    if not gpus:
        found.reasons["gpus"] = gpus_reason
    if not topology.caches:
        found.reasons["caches"] = not_shown
    if not processor.vector_isa:
        found.reasons["vector_isa"] = "the CPU's feature flags name no vector instructions known"
    machine = Machine(
        host_key="",
        hostname=files.text("proc/sys/kernel/hostname") or platform.node(),
        os=_os_name(files),
        kernel=files.text("proc/sys/kernel/osrelease") or platform.release(),
        architecture=found.architecture,
        cpu_model=processor.model or "unknown",
        cpu_vendor=found.known("cpu_vendor", processor.vendor, "the kernel does not name it"),
        sockets=found.known("sockets", topology.sockets, not_shown),
        physical_cores=found.known("physical_cores", topology.physical_cores, not_shown),
        logical_cpus=max(1, topology.online),
        threads_per_core=found.known("threads_per_core", topology.threads_per_core, not_shown),
        usable_cpus=_usable_cpus(found),
        numa_nodes=found.known("numa_nodes", topology.numa_nodes, not_shown),
        caches=topology.caches,
        vector_isa=processor.vector_isa,
        clock_base_hz=found.known(
            "clock_base_hz", processor.clock_base_hz, "neither cpufreq, ACPI nor the name tells it"
        ),
        clock_max_hz=found.known(
            "clock_max_hz", processor.clock_max_hz, "no cpufreq driver, as in virtual machines"
        ),
        memory_bytes=_memory_bytes(found),
        page_bytes=found.page_bytes,
        transparent_huge_pages=found.known(
            "transparent_huge_pages", _huge_page_policy(files), "the kernel has no such policy"
        ),
        hypervisor=found.known(
            "hypervisor", processor.hypervisor, "no sign of one: most likely bare metal"
        ),
        hardware_counters=counters,
        gpus=gpus,
        compiler=_compiler(found),
        torch=_torch_build(found, with_torch),
        reasons=found.reasons,
    )
    return _with_host_key(machine, processor)


def _with_host_key(machine: Machine, processor: Processor) -> Machine:
    """`machine` with the digest of all that a ceiling depends on.

    Memory counts in powers of two: firmware, balloons and hot-plugging move the exact figure.
    """
    parts: list[Any] = [
        machine.architecture,
        machine.cpu_model,
        processor.flags,
        [(cache.name, cache.size_bytes, cache.instances) for cache in machine.caches],
        [machine.sockets, machine.physical_cores, machine.logical_cpus, machine.usable_cpus],
        machine.numa_nodes,
        machine.memory_bytes.bit_length(),
        [machine.page_bytes, machine.transparent_huge_pages],
        machine.hypervisor is not None,  # its name depends on who tells it
        [(gpu.name, gpu.memory_bytes) for gpu in machine.gpus],
    ]
    digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
    return msgspec.structs.replace(machine, host_key=digest)


def _usable_cpus(found: _Findings) -> int:
    """CPUs of the affinity mask that are online, cut to the whole CPUs of a container's quota.

    The quota is rounded down: a team of threads that meets at barriers waits for the one that
    the kernel throttles.
    """
    online = {cpu.number for cpu in found.topology.cpus}
    allowed = found.limits.allowed_cpus
    count = max(1, found.topology.online)
    if allowed is not None:
        count = max(1, len(online & set(allowed) if online else set(allowed)))
    quota = found.limits.cpu_quota
    if quota is None or quota >= count:
        return count
    found.reasons["usable_cpus"] = f"the container may use the time of {quota:g} of {count} CPUs"
    return max(1, int(quota))


def _memory_bytes(found: _Findings) -> int:
    """The machine's memory, cut to the container's limit; 0, with the reason, if unknown."""
    total = field_bytes(found.files.text("proc/meminfo") or "", "MemTotal") or 0
    if not total and found.live:
        import psutil

        total = int(psutil.virtual_memory().total)
    limit = found.limits.memory_bytes
    if limit is not None and (not total or limit < total):
        found.reasons["memory_bytes"] = f"the container may use {limit} of {total} bytes"
        return limit
    if not total:
        found.reasons["memory_bytes"] = "/proc/meminfo does not tell it"
    return total


def _huge_page_policy(files: SystemFiles) -> str | None:
    """The choice in brackets of "always [madvise] never"."""
    text = files.text("sys/kernel/mm/transparent_hugepage/enabled") or ""
    chosen = text.partition("[")[2].partition("]")[0]
    return chosen or None


def _os_name(files: SystemFiles) -> str:
    for line in (files.text("etc/os-release") or "").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip().strip('"')
    return platform.system()


def _run_lscpu() -> str:
    """The output of lscpu in English; empty where there is none."""
    try:
        return subprocess.run(
            ["lscpu"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=child_environment({"LC_ALL": "C"}),
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _ask_libraries(topology: Topology, processor: Processor) -> tuple[Topology, Processor]:
    """Gaps filled by psutil and py-cpuinfo, which know systems without /proc."""
    if not topology.online or topology.physical_cores is None:
        import psutil

        topology = topology._replace(
            online=topology.online or psutil.cpu_count(logical=True) or 1,
            physical_cores=topology.physical_cores or psutil.cpu_count(logical=False),
        )
    if processor.model is None:
        processor = processor._replace(model=_cpu_brand())
    return topology, processor


def _cpu_brand() -> str | None:
    """What py-cpuinfo calls the processor, in a process of its own: it starts others by PATH."""
    command = python_command("cpuinfo", "--json")
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=60, check=True, env=child_environment()
        )
        return msgspec.json.decode(done.stdout, type=_Brand).brand_raw
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError):
        return None


class _Brand(msgspec.Struct):
    """The field that is read of what py-cpuinfo prints."""

    brand_raw: str | None = None


def _compiler(found: _Findings) -> Compiler | None:
    if not found.live:
        found.reasons["compiler"] = _RECORDED
        return None
    try:
        toolchain = find_compiler()
    except CompilerError as error:
        found.reasons["compiler"] = str(error)
        return None
    return Compiler(path=toolchain.path, version=toolchain.version)


def _torch_build(found: _Findings, with_torch: bool) -> TorchBuild | None:
    """The installed PyTorch; its version alone unless it may be imported."""
    if not found.live:
        found.reasons["torch"] = _RECORDED
        return None
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version is None or not is_installed("torch"):
        found.reasons["torch"] = "PyTorch is not installed"
        return None
    if not with_torch:
        found.reasons["torch.cpu_capability"] = "PyTorch was not imported to ask"
        return TorchBuild(version=version)
    import torch

    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return TorchBuild(
        version=version,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        blas=blas[1] if blas else None,
        cuda=torch.version.cuda,
    )


def read_gpus() -> tuple[list[Gpu], str]:
    """The GPUs, and the reason when there are none to see."""
    try:
        import pynvml
    except ImportError:
        return [], "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"no NVIDIA driver answers ({error})"
    try:
        count = pynvml.nvmlDeviceGetCount()
        gpus = [_read_gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
    except pynvml.NVMLError as error:
        return [], f"the NVIDIA driver does not describe its devices ({error})"
    finally:
        pynvml.nvmlShutdown()
    return gpus, "" if gpus else "the NVIDIA driver knows no device"


def _read_gpu(nvml: Any, handle: Any) -> Gpu:
    def optional(function: str, *arguments: Any) -> Any:
        try:
            return getattr(nvml, function)(*arguments)
        except (nvml.NVMLError, AttributeError):
            return None  # old driver, or a card that does not say

    capability = optional("nvmlDeviceGetCudaComputeCapability", handle)
    clock_mhz = optional("nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM)
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        driver=_text(driver) if (driver := optional("nvmlSystemGetDriverVersion")) else None,
        compute_capability=".".join(map(str, capability)) if capability else None,
        clock_max_hz=clock_mhz * 1e6 if clock_mhz else None,
    )


def _text(value: str | bytes) -> str:
    """Older bindings answer in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
