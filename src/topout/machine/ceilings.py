"""What this machine was measured to reach, measured now or taken from the cache of its host key.

Beside it the doubts: what else went on meanwhile, as other programs, a busy host, swapping.
"""

import contextlib
import functools
import hashlib
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from topout.errors import CompilerError, OutputError, RecordError
from topout.kernels.build import SOURCE_FOLDER, cache_folder, included_files, writable_cache_folder
from topout.machine.describe import pinning_order
from topout.machine.effort import FULL, QUICK, CeilingParts, Effort, Meter, join_parts
from topout.machine.native_ceilings import measure_native, steps_of
from topout.machine.topology import SystemFiles
from topout.machine.torch_ceilings import measure_matmuls, measure_torch_op, measure_with_torch
from topout.measure.process import field_bytes
from topout.progress import Notify
from topout.records import SCHEMA_VERSION, Ceilings, Doubt, Machine, read, write
from topout.records.record import utc_now

_WIDE_SPREAD = 0.1
_LEAST_SCALING = 0.6  # of n threads over n times one
_AGAIN = "measure again on a quiet machine (`topout machine --refresh`)"
_OTHER_LOAD = 0.1  # CPUs' worth per usable CPU
_STOLEN = 0.01
_SWAP_SHARE = 0.05


def default_threads(usable_cpus: int) -> list[int]:
    """Powers of two up to the usable CPUs, and all of them: 6 → [1, 2, 4, 6]."""
    powers = [1 << i for i in range(usable_cpus.bit_length()) if 1 << i <= usable_cpus]
    return sorted({*powers, max(1, usable_cpus)})


def measure_ceilings(
    machine: Machine,
    threads: list[int] | None = None,
    quick: bool = False,
    progress: Notify | None = None,
) -> Ceilings:
    """Measure the CPU at each thread count: about 30 s on two cores, `quick` about 5 s.

    `progress` is told what is measured and the share done. Without a compiler PyTorch's own
    operators are measured instead, and a doubt says that they are a lower bound.
    """
    counts = sorted(set(threads or default_threads(machine.usable_cpus)))
    effort = QUICK if quick else FULL
    cpus = pinning_order()
    used = cpus[: max(counts)]
    begun, before = time.monotonic(), take_snapshot(used)
    meter = Meter(steps_of(counts, effort) + 2 * len(counts), progress)
    found = join_parts([_measure(machine, n, counts, cpus, effort, meter) for n in counts])
    torch_op = measure_torch_op(effort)
    disturbances = doubts_between(before, take_snapshot(used), len(used) or max(counts))
    doubts = [
        *found.doubts,
        *disturbances,
        *standing_doubts(machine),
        *_doubts_of_spread(found),
        *([] if disturbances else _doubts_of_cores(found, machine)),
    ]
    reasons = {**found.reasons, "compute.fp16": "not measured on CPUs"}
    if torch_op is None:
        reasons["overheads.torch_op"] = "PyTorch is not installed"
    if not found.clocks_hz:
        reasons["clock_hz"] = "it is inferred by a native micro-benchmark, which was not run"
    return Ceilings(
        host_key=machine.host_key,
        device="cpu",
        measured_at=utc_now(),
        elapsed_s=time.monotonic() - begun,
        quick=quick,
        clock_hz=statistics.median(found.clocks_hz) if found.clocks_hz else None,
        compute=found.compute,
        bandwidth=found.bandwidth,
        overheads=[*found.overheads, *([torch_op] if torch_op else [])],
        doubts=doubts,
        reasons=reasons,
    )


def load_or_measure_ceilings(
    machine: Machine,
    refresh: bool = False,
    quick: bool = False,
    progress: Notify | None = None,
    device: str = "cpu",
) -> Ceilings:
    """The cached ceilings of this machine, or fresh ones, which are then cached.

    A quick measurement never takes the place of a full one, in the cache or in the answer,
    unless `refresh` asks for it; a cache file that cannot be read is measured again. Raises
    UnsupportedError for a device that is not there.
    """
    cached = cached_ceilings(machine, device)
    if cached is not None and not refresh and (quick or not cached.quick):
        return cached
    if device == "cpu":
        fresh = measure_ceilings(machine, None, quick, progress)
    else:
        from topout.machine.torch_ceilings import measure_cuda_ceilings

        fresh = measure_cuda_ceilings(machine, quick, progress)
    if cached is None or cached.quick or not fresh.quick:
        keep_ceilings(fresh, machine)
    return fresh


def cached_ceilings(machine: Machine, device: str = "cpu") -> Ceilings | None:
    """The ceilings of this machine, if they were measured before and can be read."""
    return _load(cache_folder() / "ceilings" / _file_name(machine, device), machine, device)


def _file_name(machine: Machine, device: str) -> str:
    return f"{machine.host_key}-{device}-v{SCHEMA_VERSION}-{_method_key()}.json"


def _measure(
    machine: Machine,
    threads: int,
    counts: Sequence[int],
    cpus: Sequence[int],
    effort: Effort,
    meter: Meter,
) -> CeilingParts:
    """One thread count, natively where there is a compiler; AMX by PyTorch, which reaches it."""
    curve = threads in (min(counts), max(counts))
    try:
        found = measure_native(machine, threads, cpus, effort, curve, meter)
    except CompilerError as error:
        return measure_with_torch(machine, threads, effort, str(error), meter)
    if "amx_tile" in machine.vector_isa:
        reasons: dict[str, str] = {}
        matrix = measure_matmuls(("bf16", "int8"), threads, effort, reasons, meter)
        return found._replace(compute=[*found.compute, *matrix])
    return found


def _doubts_of_spread(found: CeilingParts) -> list[Doubt]:
    """A doubt about the arithmetic and one about memory whose trials differ, the worst named."""
    spreads = [
        ("arithmetic", f"{each.dtype} at {each.threads} threads", each.samples)
        for each in found.compute
    ] + [
        ("bandwidth", f"{each.level} ({each.page} pages) at {each.threads} threads", each.samples)
        for each in found.bandwidth
    ]
    doubts: list[Doubt] = []
    for about in ("arithmetic", "bandwidth"):
        of_kind = [(_spread(samples), what) for kind, what, samples in spreads if kind == about]
        wide = sorted((each for each in of_kind if each[0] > _WIDE_SPREAD), reverse=True)
        if wide:
            sentence = (
                f"The middle trial stays more than {_WIDE_SPREAD:.0%} below the best in "
                f"{len(wide)} of {len(of_kind)} {about} ceilings, by {wide[0][0]:.0%} in "
                f"{wide[0][1]}."
            )
            remedy = "Measure again on a quiet machine (`topout machine --refresh`)."
            doubts.append(Doubt(about=about, sentence=sentence, remedy=remedy))
    return doubts


def _doubts_of_cores(found: CeilingParts, machine: Machine) -> list[Doubt]:
    """A doubt that the CPUs are whole cores, when all of them compute hardly more than one.

    Virtual machines may show the two threads of one core as two cores.
    """
    rates = {each.threads: each.flops_per_s for each in found.compute if each.dtype == "fp32"}
    most = max(rates, default=1)
    if 1 not in rates or not 2 <= most <= (machine.physical_cores or 1):
        return []
    ratio = rates[most] / rates[1]
    if ratio > _LEAST_SCALING * most:
        return []
    sentence = (
        f"{most} threads compute only {ratio:.1f} times what one does: CPUs shown as cores may be "
        "threads of shared cores, or a limit on power or CPU time holds them back."
    )
    remedy = "Count on the ceiling of all threads, not on a multiple of one thread's."
    return [Doubt(about="cores", sentence=sentence, remedy=remedy)]


def _spread(samples: list[float]) -> float:
    """How far the median stays below the best, as a share of the best."""
    return 1 - statistics.median(samples) / max(samples)


@functools.cache
def _method_key() -> str:
    """The digest of how ceilings are measured: the kernels' sources and the durations."""
    digest = hashlib.sha256(repr((FULL, QUICK)).encode())
    for file in included_files((SOURCE_FOLDER / "ceilings.cpp").resolve()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _load(path: Path, machine: Machine, device: str) -> Ceilings | None:
    try:
        cached = read(path, Ceilings)
    except RecordError:
        return None  # not there, truncated, or not ours
    return cached if (cached.host_key, cached.device) == (machine.host_key, device) else None


def keep_ceilings(ceilings: Ceilings, machine: Machine) -> None:
    """Put ceilings where the next run finds them; a cache that refuses costs a measurement."""
    with contextlib.suppress(OutputError):
        write(ceilings, writable_cache_folder("ceilings") / _file_name(machine, ceilings.device))


class Snapshot(NamedTuple):
    """Running totals of the CPUs in question, in seconds, and of the system, in pages."""

    at_s: float
    busy_s: float | None  # None: /proc/stat is not there
    stolen_s: float
    own_s: float
    swapped_pages: int


def take_snapshot(cpus: list[int], files: SystemFiles | None = None) -> Snapshot:
    """The totals of now, over the CPUs with these numbers."""
    files = files or SystemFiles()
    own = os.times()
    busy_s, stolen_s = _cpu_seconds(files.text("proc/stat") or "", set(cpus))
    counts = dict(
        line.partition(" ")[::2] for line in (files.text("proc/vmstat") or "").splitlines()
    )
    swapped = [counts.get(name, "0").strip() for name in ("pswpin", "pswpout")]
    return Snapshot(
        at_s=time.monotonic(),
        busy_s=busy_s,
        stolen_s=stolen_s,
        own_s=own.user + own.system + own.children_user + own.children_system,
        swapped_pages=sum(int(text) for text in swapped if text.isdigit()),
    )


def doubts_between(before: Snapshot, after: Snapshot, cpus: int) -> list[Doubt]:
    """What disturbed the time between two snapshots of `cpus` CPUs."""
    elapsed_s = max(after.at_s - before.at_s, 1e-9)
    doubts: list[Doubt] = []
    if before.busy_s is not None and after.busy_s is not None:
        others = (after.busy_s - before.busy_s - after.own_s + before.own_s) / elapsed_s
        # Ticks are 10 ms, and so is the doubt about either end.
        if others - 0.02 * cpus / elapsed_s > _OTHER_LOAD * cpus:
            sentence = f"Other programs kept {others:.1f} of {cpus} CPUs busy meanwhile."
            doubts.append(Doubt(about="load", sentence=sentence, remedy=f"Stop them and {_AGAIN}."))
    else:
        doubts += _doubts_of_load(cpus)
    stolen = (after.stolen_s - before.stolen_s) / elapsed_s / cpus
    if stolen > _STOLEN:
        sentence = f"The hypervisor gave {stolen:.1%} of the CPU time to other machines."
        remedy = f"Ask for dedicated CPUs, or {_AGAIN}."
        doubts.append(Doubt(about="steal", sentence=sentence, remedy=remedy))
    if after.swapped_pages > before.swapped_pages:
        pages = after.swapped_pages - before.swapped_pages
        sentence = f"{pages} pages went to or came from swap meanwhile."
        doubts.append(Doubt(about="swap", sentence=sentence, remedy=f"Free memory and {_AGAIN}."))
    return doubts


def standing_doubts(machine: Machine, files: SystemFiles | None = None) -> list[Doubt]:
    """What makes this machine's ceilings doubtful whenever they are measured."""
    doubts: list[Doubt] = []
    memory = (files or SystemFiles()).text("proc/meminfo") or ""
    total = field_bytes(memory, "SwapTotal") or 0
    free = field_bytes(memory, "SwapFree")
    used = 0 if free is None else total - free
    if total and used > _SWAP_SHARE * machine.memory_bytes:
        sentence = f"{used / 2**20:.0f} MiB of memory are in swap."
        doubts.append(Doubt(about="swap", sentence=sentence, remedy=f"Free memory and {_AGAIN}."))
    if machine.transparent_huge_pages == "never":
        doubts.append(
            Doubt(
                about="huge pages",
                sentence="Transparent huge pages are switched off, and large reads miss the TLB.",
                remedy="As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            )
        )
    return doubts


def _cpu_seconds(stat: str, cpus: set[int]) -> tuple[float | None, float]:
    """Busy and stolen seconds since boot of the CPUs asked for, from the text of /proc/stat."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    busy, stolen, seen = 0, 0, False
    for line in stat.splitlines():
        name, *rest = line.split()[:9] or [""]
        number = name.removeprefix("cpu")
        if name == number or not number.isdigit() or int(number) not in cpus:
            continue
        # user nice system idle iowait irq softirq steal
        ticks = [int(text) if text.isdigit() else 0 for text in rest] + [0] * 8
        busy += ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
        stolen += ticks[7]
        seen = True
    return (busy * tick_s if seen else None), stolen * tick_s


def _doubts_of_load(cpus: int) -> list[Doubt]:
    """Without /proc/stat the load average must do."""
    load = os.getloadavg()[0]
    if load <= cpus * (1 + _OTHER_LOAD):
        return []
    sentence = f"The load average is {load:.1f} on {cpus} CPUs."
    return [Doubt(about="load", sentence=sentence, remedy=f"Stop other programs and {_AGAIN}.")]
