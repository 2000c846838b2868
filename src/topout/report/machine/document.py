"""This machine as a document: what it is, and what it was measured to reach."""

from collections.abc import Iterable, Iterator, Sequence

from topout.records import Cache, Ceilings, KeptMeasurement, Machine, MachineReport
from topout.report.document import (
    Absent,
    Column,
    Document,
    Doubts,
    Facts,
    Paragraph,
    Part,
    Row,
    Section,
    Table,
)
from topout.report.figures import rate_unit_of
from topout.units import ABSENT, bytes_per_s, counted, flops_per_s, memory, seconds, si

_OVERHEAD_NAMES = {
    "kernel_call": "call of a native kernel",
    "thread_barrier": "barrier among threads",
    "thread_fork_join": "waking a team of threads",
    "torch_op": "eager PyTorch operator",
    "cuda_launch": "CUDA kernel launch",
}


def machine_document(report: MachineReport) -> Document:
    """The report of a machine: description, ceilings and doubts."""
    machine, ceilings = report.machine, report.ceilings
    if ceilings is None:
        reason = report.reasons.get("ceilings", "not measured")
        measured: list[Part] = [Paragraph(f"No ceilings: {reason}.")]
    else:
        measured = [Section(_heading(ceilings), _ceilings(ceilings), key="ceilings")]
        measured += _kept(report.kept)
    return Document(
        record=report,
        title=machine.hostname,
        about=f"{machine.os}, kernel {machine.kernel}",
        parts=[Facts(list(_facts(machine))), *measured],
    )


def _facts(machine: Machine) -> Iterator[tuple[str, str]]:
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
    return "" if number is None else counted(number, noun)


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


def _ceilings(ceilings: Ceilings) -> list[Part]:
    return [
        _compute(ceilings),
        _bandwidth(ceilings),
        _overheads(ceilings),
        Absent(ceilings.reasons),
        Doubts(ceilings.doubts, "Doubts"),
    ]


def _kept(kept: Sequence[KeptMeasurement]) -> list[Part]:
    """All measurements where there are several, and why the one that stands does."""
    if len(kept) < 2:
        return []
    columns = [
        Column("Measured", text=True),
        Column("Manner", text=True),
        Column("fp32, memory"),
        Column("Disturbed by", text=True),
    ]
    rows = [
        Row(
            [
                f"{each.measured_at}{', stands' if each.stands else ''}",
                "quick" if each.quick else "full",
                f"{flops_per_s(each.flops_per_s)}\n{bytes_per_s(each.bytes_per_s)}",
                " ".join(each.disturbances) or "nothing",
            ]
        )
        for each in kept
    ]
    return [Section("Measurements kept", [Paragraph(_why_standing(kept)), Table(columns, rows)])]


def _why_standing(kept: Sequence[KeptMeasurement]) -> str:
    """Why a newer measurement does not stand; or that the newest does."""
    standing = next(each for each in kept if each.stands)
    newest = max(kept, key=lambda each: each.measured_at)
    stands = f"The ceilings measured at {standing.measured_at} stand"
    if newest is standing:
        return f"{stands}: the newest ones."
    if newest.disturbances and not standing.disturbances:
        reason = "was disturbed, and a busy machine's figures replace no better ones"
    elif newest.quick and not standing.quick:
        reason = "was a quick one"
    else:
        reason = "was disturbed as well, and has lower figures"
    return f"{stands}: the newest measurement ({newest.measured_at}) {reason}."


def _shown_threads(counts: Iterable[int]) -> list[int]:
    """All thread counts, or where these are many the first and the last two: 80 columns."""
    every = sorted(set(counts))
    return every if len(every) <= 3 else [every[0], *every[-2:]]


def _table(title: str, first: str, threads: Sequence[int], rows: Iterable[Row]) -> Table:
    """A column for each number of threads."""
    columns = [Column(first, text=True, least=24), *(Column(f"{count} thr.") for count in threads)]
    return Table(columns, list(rows), title)


def _compute(ceilings: Ceilings) -> Table:
    """Best rate by data type and instruction."""
    threads = _shown_threads(each.threads for each in ceilings.compute)
    rates = {(each.dtype, each.instruction, each.threads): each for each in ceilings.compute}
    rows = []
    for dtype, instruction in dict.fromkeys(key[:2] for key in rates):
        unit = rate_unit_of(dtype)
        found = [rates.get((dtype, instruction, count)) for count in threads]
        cells = [si(each.flops_per_s, unit) if each else ABSENT for each in found]
        rows.append(Row([f"{dtype}, {instruction}", *cells]))
    return _table("Arithmetic", "type, instruction", threads, rows)


def _bandwidth(ceilings: Ceilings) -> Table:
    """Of each level the figure that stands for it: caches the best, memory the largest set."""
    threads = _shown_threads(each.threads for each in ceilings.bandwidth)
    best: dict[tuple[str, str, int], tuple[int, float]] = {}
    for each in ceilings.bandwidth:
        key = (each.level, each.page, each.threads)
        rank = each.working_set_bytes if each.level in ("DRAM", "HBM") else 0
        best[key] = max(best.get(key, (-1, 0.0)), (rank, each.bytes_per_s))
    rows = []
    levels = dict.fromkeys(key[:2] for key in best)
    for level, page in sorted(levels, key=lambda row: (row[1] != "huge", row[0] == "DRAM", row[0])):
        cells = [best.get((level, page, count)) for count in threads]
        shown = [bytes_per_s(cell[1]) if cell else ABSENT for cell in cells]
        rows.append(Row([f"{level}, {page}", *shown]))
    return _table("Read bandwidth", "level, pages", threads, rows)


def _overheads(ceilings: Ceilings) -> Table:
    threads = _shown_threads(each.threads for each in ceilings.overheads)
    times = {(each.name, each.threads): each.time_s for each in ceilings.overheads}
    rows = [
        Row(
            [
                _OVERHEAD_NAMES.get(name, name),
                *(seconds(times.get((name, count))) for count in threads),
            ]
        )
        for name in dict.fromkeys(name for name, _ in times)
    ]
    return _table("Overheads", "least time", threads, rows)
