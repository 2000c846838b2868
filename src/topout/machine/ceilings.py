"""What this machine was measured to reach, measured now or kept from before."""

import functools
import hashlib
import math
import statistics
import time
from collections.abc import Collection, Sequence

import msgspec

from topout.errors import CompilerError, RecordError
from topout.extras import is_installed
from topout.kernels.build import SOURCE_FOLDER, included_files
from topout.machine.ceiling_checks import (
    check_ceilings,
    contradiction_doubts,
    contradictions,
    measure_again,
)
from topout.machine.describe import pinning_order
from topout.machine.disturbance import doubts_between, standing_doubts, take_snapshot
from topout.machine.effort import FULL, PARTS, QUICK, CeilingParts, Effort, Meter, Part, join_parts
from topout.machine.kept import Shelf, is_settled, tell_standing
from topout.machine.native_ceilings import measure_native, steps_of
from topout.machine.torch_ceilings import measure_matmuls, measure_torch_op, measure_with_torch
from topout.progress import Notify
from topout.records import (
    SCHEMA_VERSION,
    Ceilings,
    Doubt,
    Machine,
)
from topout.records.record import utc_now
from topout.roofline import MAIN_MEMORY, compute_at, level_ceiling

_WIDE_SPREAD = 0.1
_LEAST_SCALING = 0.6  # of n threads over n times one


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

    What contradicts itself is measured again, and doubted if it still does. `progress` is told
    what is measured and the share done. Without a compiler PyTorch's own operators are measured
    instead, and a doubt says that they are a lower bound. Raises CompilerError without either.
    """
    counts = sorted(set(threads or default_threads(machine.usable_cpus)))
    effort = QUICK if quick else FULL
    cpus = pinning_order()
    used = cpus[: max(counts)]
    begun, before = time.monotonic(), take_snapshot(used)
    meter = Meter(steps_of(counts, effort) + 2 * len(counts), progress)

    def measure(count: int, parts: Collection[Part]) -> CeilingParts:
        return _measure(machine, count, counts, cpus, effort, meter, parts)

    found = join_parts([measure(count, PARTS) for count in counts])
    torch_op = measure_torch_op(effort)
    reasons = {**found.reasons, "compute.fp16": "not measured on CPUs"}
    if torch_op is None:
        reasons["overheads.torch_op"] = "PyTorch is not installed"
    if not found.clocks_hz:
        reasons["clock_hz"] = "it is inferred by a native micro-benchmark, which was not run"
    ceilings = Ceilings(
        host_key=machine.host_key,
        device="cpu",
        measured_at=utc_now(),
        elapsed_s=0.0,
        quick=quick,
        clock_hz=statistics.median(found.clocks_hz) if found.clocks_hz else None,
        compute=found.compute,
        bandwidth=found.bandwidth,
        overheads=[*found.overheads, *([torch_op] if torch_op else [])],
        reasons=reasons,
    )
    ceilings = measure_again(ceilings, machine, lambda count, part: measure(count, [part]))
    disturbances = doubts_between(before, take_snapshot(used), len(used) or max(counts))
    disturbances += contradiction_doubts(contradictions(ceilings, machine))
    doubts = [
        *found.doubts,
        *disturbances,
        *standing_doubts(machine),
        *_doubts_of_spread(ceilings),
        *([] if disturbances else _doubts_of_cores(ceilings, machine)),
    ]
    elapsed_s = time.monotonic() - begun
    return msgspec.structs.replace(ceilings, elapsed_s=elapsed_s, doubts=doubts)


def load_or_measure_ceilings(
    machine: Machine,
    refresh: bool = False,
    quick: bool = False,
    progress: Notify | None = None,
    device: str = "cpu",
) -> Ceilings:
    """The ceilings of this machine that stand, by the rule of `topout.machine.kept`.

    They are measured if they never were, or with `refresh`; also when only disturbed ones are kept
    and the machine is quiet now, and when only quick ones are and `quick` is not asked for. What
    is measured is kept beside the others. Raises UnsupportedError for a device that is not there.
    """
    shelf = _shelf(machine, device)
    kept = shelf.kept()
    if not refresh and is_settled(kept, quick):
        tell_standing(kept[0])
        return kept[0]
    if device == "cpu":
        return shelf.keep(measure_ceilings(machine, None, quick, progress))
    from topout.machine.torch_ceilings import measure_cuda_ceilings

    return shelf.keep(measure_cuda_ceilings(machine, quick, progress))


def cached_ceilings(machine: Machine, device: str = "cpu") -> Ceilings | None:
    """The ceilings of this machine that stand, if they were measured before and can be read."""
    return next(iter(kept_ceilings(machine, device)), None)


def kept_ceilings(machine: Machine, device: str = "cpu") -> list[Ceilings]:
    """All measurements that are kept of this machine, the one that stands first."""
    return _shelf(machine, device).kept()


def keep_ceilings(ceilings: Ceilings, machine: Machine) -> Ceilings:
    """Keep ceilings where the next run finds them; returns those that stand."""
    return _shelf(machine, ceilings.device).keep(ceilings)


def main_rates(ceilings: Ceilings) -> tuple[float | None, float | None]:
    """(FLOP/s in fp32, bytes/s of main memory) of the most threads: what ceilings are told by."""
    memory = next(filter(None, (level_ceiling(ceilings, name) for name in MAIN_MEMORY)), None)
    return compute_at(ceilings, "fp32"), memory.bytes_per_s if memory else None


def _shelf(machine: Machine, device: str) -> Shelf[Ceilings]:
    def accept(ceilings: Ceilings, source: str) -> Ceilings:
        if ceilings.device != device:
            raise RecordError(f"{source} is of {ceilings.device}.", "Measure: `topout machine`.")
        check_ceilings(ceilings, machine, source)
        told = {each.sentence for each in ceilings.doubts}
        found = contradiction_doubts(contradictions(ceilings, machine))
        more = [each for each in found if each.sentence not in told]
        return msgspec.structs.replace(ceilings, doubts=[*ceilings.doubts, *more])

    return Shelf(
        part="ceilings",
        stem=f"{machine.host_key}-{device}-v{SCHEMA_VERSION}-{_method_key()}",
        record_type=Ceilings,
        accept=accept,
        merit=lambda ceilings: sum(math.log(rate) for rate in main_rates(ceilings) if rate),
    )


def _measure(
    machine: Machine,
    threads: int,
    counts: Sequence[int],
    cpus: Sequence[int],
    effort: Effort,
    meter: Meter,
    parts: Collection[Part],
) -> CeilingParts:
    """Parts of one thread count, natively where there is a compiler; AMX by PyTorch."""
    curve = threads in (min(counts), max(counts))
    try:
        found = measure_native(machine, threads, cpus, effort, curve, meter, parts)
    except CompilerError as error:
        if not is_installed("torch"):
            raise
        return measure_with_torch(machine, threads, effort, str(error), meter, parts)
    if "amx_tile" in machine.vector_isa and "compute" in parts:  # which PyTorch's libraries reach
        reasons = dict(found.reasons)
        if not is_installed("torch"):
            why = "PyTorch is not installed, whose libraries reach the matrix units"
            return found._replace(reasons={**reasons, "compute.matrix_units": why})
        matrix = measure_matmuls(("bf16", "int8"), threads, effort, reasons, meter)
        return found._replace(compute=[*found.compute, *matrix])
    return found


def _doubts_of_spread(found: Ceilings) -> list[Doubt]:
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


def _doubts_of_cores(found: Ceilings, machine: Machine) -> list[Doubt]:
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
