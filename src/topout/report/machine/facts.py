"""The machine of a run and its measured ceilings as rows of text."""

from topout import units
from topout.records import Ceilings, Machine


def machine_facts(machine: Machine) -> list[tuple[str, str]]:
    """What the machine is: pairs of name and value, those that are known."""
    torch = machine.torch
    facts = [
        ("Processor", machine.cpu_model),
        ("Cores", _cores(machine)),
        ("Vector units", ", ".join(machine.vector_isa)),
        ("Caches", ", ".join(f"{c.name} {units.memory(c.size_bytes)}" for c in machine.caches)),
        ("Memory", units.memory(machine.memory_bytes)),
        ("Accelerators", ", ".join(gpu.name for gpu in machine.gpus)),
        ("System", f"{machine.os}, Linux {machine.kernel}, {machine.architecture}"),
        ("Hypervisor", machine.hypervisor or ""),
        ("Transparent huge pages", machine.transparent_huge_pages or ""),
        ("PyTorch", torch.version if torch else ""),
        ("Compiler", machine.compiler.version if machine.compiler else ""),
        ("Host", machine.hostname),
    ]
    return [(name, value) for name, value in facts if value]


def compute_rows(ceilings: Ceilings) -> list[tuple[str, ...]]:
    """The arithmetic ceilings: dtype, threads, reached with, rate."""
    return [
        (
            c.dtype,
            str(c.threads),
            c.instruction,
            units.si(c.flops_per_s, "OP/s" if c.dtype == "int8" else "FLOP/s"),
        )
        for c in ceilings.compute
    ]


def bandwidth_rows(ceilings: Ceilings) -> list[tuple[str, ...]]:
    """The bandwidth ceilings: level, threads, page, working set, rate."""
    return [
        (
            b.level,
            str(b.threads),
            b.page,
            units.memory(b.working_set_bytes),
            units.bytes_per_s(b.bytes_per_s),
        )
        for b in ceilings.bandwidth
    ]


def overhead_rows(ceilings: Ceilings) -> list[tuple[str, ...]]:
    """The least times of empty work: name, threads, time."""
    return [(o.name, str(o.threads), units.seconds(o.time_s)) for o in ceilings.overheads]


def _cores(machine: Machine) -> str:
    parts = [f"{machine.usable_cpus} usable of {machine.logical_cpus} logical CPUs"]
    if machine.physical_cores is not None:
        plural = "" if machine.physical_cores == 1 else "s"
        parts.append(f"{machine.physical_cores} physical core{plural}")
    if machine.sockets is not None:
        parts.append(f"{machine.sockets} socket{'' if machine.sockets == 1 else 's'}")
    return ", ".join(parts)
