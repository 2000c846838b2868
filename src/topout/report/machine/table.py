"""The machine and its ceilings as tables for a terminal of 80 columns."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from topout.records import Cache, Ceilings, Machine, MachineReport
from topout.units import ABSENT, bytes_per_s, memory, seconds, si

_OVERHEAD_NAMES = {
    "kernel_call": "call of a native kernel",
    "thread_barrier": "barrier among threads",
    "thread_fork_join": "waking a team of threads",
    "torch_op": "eager PyTorch operator",
    "cuda_launch": "CUDA kernel launch",
}


def machine_table(report: MachineReport) -> RenderableType:
    """Description, ceilings and doubts, one below the other."""
    parts: list[RenderableType] = [_description(report.machine)]
    ceilings = report.ceilings
    if ceilings is None:
        parts.append(Text(f"\nNo ceilings: {report.reasons.get('ceilings', 'not measured')}."))
        return Group(*parts)
    parts += [Text(), Text(_heading(ceilings), style="bold"), *_ceiling_tables(ceilings)]
    for doubt in ceilings.doubts:
        line = Text("Doubt  ", style="bold yellow")
        parts.append(line.append(f"{doubt.sentence} {doubt.remedy}", style="default"))
    return Group(*parts)


def _description(machine: Machine) -> Table:
    """One line per fact; facts that are absent show the reason."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(machine):
        table.add_row(name, value)
    return table


def _facts(machine: Machine) -> Iterable[tuple[str, str]]:
    yield "Machine", f"{machine.hostname} ({machine.os}, kernel {machine.kernel})"
    yield "Processor", f"{machine.cpu_model} ({machine.architecture})"
    yield "Cores", _cores(machine)
    yield "Caches", ", ".join(_cache(each) for each in machine.caches) or _why(machine, "caches")
    yield "Vectors", " ".join(machine.vector_isa) or _why(machine, "vector_isa")
    yield "Clock", _clocks(machine)
    yield "Memory", _memory(machine)
    if machine.hypervisor:
        yield "Virtual", f"guest of {machine.hypervisor}"
    counters = "yes" if machine.hardware_counters else _why(machine, "hardware_counters")
    yield "Counters", counters
    gpus = [f"{gpu.name}, {memory(gpu.memory_bytes)}" for gpu in machine.gpus]
    yield "GPUs", "\n".join(gpus) or _why(machine, "gpus")
    compiler = machine.compiler
    yield "Compiler", compiler.version if compiler else _why(machine, "compiler")
    yield "PyTorch", _torch(machine)


def _why(machine: Machine, field: str) -> str:
    return f"{ABSENT} ({machine.reasons.get(field, 'not known')})"


def _cores(machine: Machine) -> str:
    """Sockets, cores, SMT and NUMA, and how many CPUs of them this process may use."""
    parts = [
        _counted(machine.sockets, "socket"),
        _counted(machine.physical_cores, "core"),
        _counted(machine.logical_cpus, "CPU"),
        _counted(machine.numa_nodes, "NUMA node"),
    ]
    if machine.threads_per_core:
        smt = machine.threads_per_core > 1
        parts.append(f"SMT × {machine.threads_per_core}" if smt else "no SMT")
    if machine.usable_cpus < machine.logical_cpus:
        parts.append(f"{machine.usable_cpus} usable")
    if reason := machine.reasons.get("usable_cpus"):
        parts.append(f"({reason})")
    return ", ".join(filter(None, parts))


def _counted(number: int | None, noun: str) -> str:
    if number is None:
        return ""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cache(cache: Cache) -> str:
    count = f" × {cache.instances}" if cache.instances and cache.instances > 1 else ""
    return f"{cache.name} {memory(cache.size_bytes)}{count}"


def _clocks(machine: Machine) -> str:
    base, most = machine.clock_base_hz, machine.clock_max_hz
    shown = [f"base {si(base, 'Hz')}" if base else "", f"at most {si(most, 'Hz')}" if most else ""]
    return ", ".join(filter(None, shown)) or _why(machine, "clock_max_hz")


def _memory(machine: Machine) -> str:
    policy = machine.transparent_huge_pages
    huge = f"huge pages: {policy}" if policy else "no transparent huge pages"
    return f"{memory(machine.memory_bytes)}, pages of {memory(machine.page_bytes)}, {huge}"


def _torch(machine: Machine) -> str:
    build = machine.torch
    if build is None:
        return _why(machine, "torch")
    parts = [build.version, build.cpu_capability, build.blas, build.cuda and f"CUDA {build.cuda}"]
    return ", ".join(part for part in parts if part)


def _heading(ceilings: Ceilings) -> str:
    clock = f", clock {si(ceilings.clock_hz, 'Hz')}" if ceilings.clock_hz else ""
    manner = "quickly " if ceilings.quick else ""
    return (
        f"Ceilings of the {ceilings.device.upper() if ceilings.device == 'cpu' else 'GPU'}, "
        f"{manner}measured {ceilings.measured_at}{clock}"
    )


def _ceiling_tables(ceilings: Ceilings) -> list[RenderableType]:
    tables: list[RenderableType] = []
    if ceilings.compute:
        tables.append(_compute_table(ceilings))
    tables += [Text(f"{field}: {reason}") for field, reason in ceilings.reasons.items()]
    if ceilings.bandwidth:
        tables.append(_bandwidth_table(ceilings))
    if ceilings.overheads:
        tables.append(_overhead_table(ceilings))
    return tables


def _table(title: str, first: str, threads: list[int]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="italic", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column(first, no_wrap=True)
    for count in threads:
        table.add_column(f"{count} thr.", justify="right", no_wrap=True)
    return table


def _shown_threads(counts: Iterable[int]) -> list[int]:
    """All thread counts, or where these are many the first and the last two: 80 columns."""
    every = sorted(set(counts))
    return every if len(every) <= 3 else [every[0], *every[-2:]]


def _compute_table(ceilings: Ceilings) -> Table:
    """Best rate by data type and instruction, one column per thread count."""
    threads = _shown_threads(each.threads for each in ceilings.compute)
    table = _table("Arithmetic", "type, instruction", threads)
    rates = {(each.dtype, each.instruction, each.threads): each for each in ceilings.compute}
    for dtype, instruction in dict.fromkeys(key[:2] for key in rates):
        unit = "OP/s" if dtype == "int8" else "FLOP/s"
        found = [rates.get((dtype, instruction, count)) for count in threads]
        cells = [si(each.flops_per_s, unit) if each else ABSENT for each in found]
        table.add_row(f"{dtype}, {instruction}", *cells)
    return table


def _bandwidth_table(ceilings: Ceilings) -> Table:
    """Of each level the figure that stands for it: caches the best, memory the largest set."""
    threads = _shown_threads(each.threads for each in ceilings.bandwidth)
    table = _table("Read bandwidth", "level, pages", threads)
    best: dict[tuple[str, str, int], tuple[int, float]] = {}
    for each in ceilings.bandwidth:
        key = (each.level, each.page, each.threads)
        rank = each.working_set_bytes if each.level in ("DRAM", "HBM") else 0
        best[key] = max(best.get(key, (-1, 0.0)), (rank, each.bytes_per_s))
    rows = dict.fromkeys(key[:2] for key in best)
    for level, page in sorted(rows, key=lambda row: (row[1] != "huge", row[0] == "DRAM", row[0])):
        cells = [best.get((level, page, count)) for count in threads]
        shown = [bytes_per_s(cell[1]) if cell else ABSENT for cell in cells]
        table.add_row(f"{level}, {page}", *shown)
    return table


def _overhead_table(ceilings: Ceilings) -> Table:
    threads = _shown_threads(each.threads for each in ceilings.overheads)
    table = _table("Overheads", "least time", threads)
    times = {(each.name, each.threads): each.time_s for each in ceilings.overheads}
    for name in dict.fromkeys(name for name, _ in times):
        cells = [times.get((name, count)) for count in threads]
        table.add_row(_OVERHEAD_NAMES.get(name, name), *[seconds(cell) for cell in cells])
    return table
