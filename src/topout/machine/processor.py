"""Which processor it is: model, vendor, vector instructions, clocks, hypervisor, event counters."""

import errno
import os
import platform
import re
import sys
from typing import NamedTuple

from topout.machine.topology import SystemFiles
from topout.measure.counters import CYCLES, NoCounters, PerfSystem, attribute_of

# As /proc/cpuinfo spells them, weakest first; Arm's are renamed to what people call them.
_X86_VECTORS = [
    "sse2",
    "ssse3",
    "sse4_1",
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx_vnni_int8",
    "avx_ne_convert",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512vbmi",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
]
_ARM_VECTORS = {
    "neon": "neon",
    "asimd": "asimd",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "svei8mm": "svei8mm",
    "svebf16": "svebf16",
    "sme": "sme",
    "sme2": "sme2",
}
_ARM_IMPLEMENTERS = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x51: "Qualcomm",
    0x61: "Apple",
    0x6D: "Microsoft",
    0xC0: "Ampere",
}
_ARM_PARTS = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x46, 0x001): "A64FX",
    (0x61, 0x022): "Apple M1 (Icestorm)",
    (0x61, 0x023): "Apple M1 (Firestorm)",
    (0x61, 0x032): "Apple M2 (Blizzard)",
    (0x61, 0x033): "Apple M2 (Avalanche)",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}


class Processor(NamedTuple):
    """What is not known is None; `flags` are the CPU's feature names, sorted."""

    model: str | None
    vendor: str | None
    flags: list[str]
    vector_isa: list[str]
    clock_base_hz: float | None
    clock_max_hz: float | None
    hypervisor: str | None


def parse_cpuinfo(text: str) -> list[dict[str, str]]:
    """The blocks of /proc/cpuinfo, one per CPU, and what Arm kernels put after them."""
    blocks: list[dict[str, str]] = []
    for part in re.split(r"\n\s*\n", text):
        lines = (line.partition(":") for line in part.splitlines())
        block = {name.strip(): value.strip() for name, colon, value in lines if colon}
        if block:
            blocks.append(block)
    return blocks


def vector_isa(flags: set[str]) -> list[str]:
    """The vector instruction sets among the CPU's feature flags, weakest first."""
    x86 = [flag for flag in _X86_VECTORS if flag in flags]
    return x86 or [name for flag, name in _ARM_VECTORS.items() if flag in flags]


def read_processor(files: SystemFiles, lscpu: dict[str, str]) -> Processor:
    """The processor from /proc/cpuinfo and sysfs; what they do not show comes from `lscpu`."""
    blocks = parse_cpuinfo(files.text("proc/cpuinfo") or "")
    first = blocks[0] if blocks else {}
    flag_text = first.get("flags") or first.get("Features") or lscpu.get("Flags", "")
    flags = set(flag_text.split())
    model = first.get("model name") or lscpu.get("Model name") or _arm_model(blocks)
    vendor = first.get("vendor_id") or lscpu.get("Vendor ID") or _arm_vendor(first)
    return Processor(
        model=model,
        vendor=vendor,
        flags=sorted(flags),
        vector_isa=vector_isa(flags),
        clock_base_hz=_base_clock(files, model or ""),
        clock_max_hz=_max_clock(files, lscpu),
        hypervisor=_hypervisor(files, lscpu, flags),
    )


def _arm_number(block: dict[str, str], field: str) -> int:
    try:
        return int(block.get(field, ""), 0)
    except ValueError:
        return -1


def _arm_vendor(block: dict[str, str]) -> str | None:
    return _ARM_IMPLEMENTERS.get(_arm_number(block, "CPU implementer"))


def _arm_model(blocks: list[dict[str, str]]) -> str | None:
    """The names of all kinds of core, since big and little ones may stand side by side."""
    names: list[str] = []
    for block in blocks:
        implementer = _arm_number(block, "CPU implementer")
        part = _arm_number(block, "CPU part")
        if implementer < 0 or part < 0:
            continue
        name = _ARM_PARTS.get((implementer, part), f"Arm {implementer:#04x} part {part:#05x}")
        if name not in names:
            names.append(name)
    return " + ".join(names) or None


def _base_clock(files: SystemFiles, model: str) -> float | None:
    """The nominal clock: from the driver, from ACPI, or from the model's name ("@ 3.50GHz")."""
    cpu = "sys/devices/system/cpu/cpu0"
    if kilohertz := files.number(f"{cpu}/cpufreq/base_frequency"):
        return kilohertz * 1e3
    if megahertz := files.number(f"{cpu}/acpi_cppc/nominal_freq"):
        return megahertz * 1e6
    named = re.search(r"@ ([0-9]+(?:\.[0-9]+)?)GHz", model)
    return float(named[1]) * 1e9 if named else None


def _max_clock(files: SystemFiles, lscpu: dict[str, str]) -> float | None:
    """The highest clock of any CPU: cores of one machine may differ."""
    found = [
        files.number(f"{path}/cpufreq/cpuinfo_max_freq") or 0
        for path in files.matches("sys/devices/system/cpu", "cpu[0-9]*")
    ]
    if best := max(found, default=0):
        return best * 1e3
    shown = re.fullmatch(r"[0-9]{1,6}(?:[.,][0-9]+)?", lscpu.get("CPU max MHz", ""))
    return float(shown[0].replace(",", ".")) * 1e6 if shown else None


def _hypervisor(files: SystemFiles, lscpu: dict[str, str], flags: set[str]) -> str | None:
    """The hypervisor's vendor; Arm shows it in the firmware tables only."""
    if vendor := lscpu.get("Hypervisor vendor"):
        return vendor
    if kind := files.text("sys/hypervisor/type"):
        return kind
    maker = files.text("sys/class/dmi/id/sys_vendor") or ""
    product = files.text("sys/class/dmi/id/product_name") or ""
    virtual = maker in ("QEMU", "Amazon EC2", "Google") or "Virtual" in product
    if virtual and not product.endswith("metal"):
        return f"{maker} {product}".strip()
    return "unknown" if "hypervisor" in flags else None


def can_count_events(files: SystemFiles) -> tuple[bool | None, str]:
    """Whether CPU cycles of user code can be counted here, and the reason when they cannot."""
    try:
        system = PerfSystem()
    except NoCounters:
        return None, f"not known how to ask on {sys.platform} {platform.machine()}"
    try:
        system.close(system.open(attribute_of(CYCLES), thread=0, leader=-1))
    except OSError as error:
        return False, _explain(error.errno or 0, files)
    return True, ""


def _explain(code: int, files: SystemFiles) -> str:
    if code in (errno.EACCES, errno.EPERM):
        level = files.number("proc/sys/kernel/perf_event_paranoid")
        return (
            f"not permitted (kernel.perf_event_paranoid is {level}; 2 allows counting one's own "
            "programs; containers also need perf_event_open in their seccomp profile)"
        )
    if code in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
        return "the CPU shows no hardware events, as is usual in virtual machines"
    return f"perf_event_open failed: {os.strerror(code)}"
