"""The machine that the program runs on as `Hardware`: what was described, and what was measured."""

from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec

from topout.errors import InputError
from topout.machine.catalog.find import same_device
from topout.machine.effort import cache_capacities
from topout.records import (
    Ceilings,
    ComputeCeiling,
    ComputePeak,
    Hardware,
    Machine,
    MemoryLevel,
    Rates,
)
from topout.roofline import MAIN_MEMORY, ceilings_at, level_ceiling

_Rated = TypeVar("_Rated", ComputePeak, MemoryLevel)

_FIRST_TENSOR_CORES = 7  # major compute capability
_NO_SPEC = (
    "a CPU does not tell how many arithmetic units it has, nor its clock when all of them work"
)


def hardware_of(
    machine: Machine, ceilings: Ceilings, rates: Sequence[Rates] = (), name: str = "here"
) -> Hardware:
    """This machine's CPU, or its first GPU where `ceilings` are of CUDA.

    Achievable figures are those measured with the most threads. Datasheet figures are there only
    when the catalog knows the device under the name that it reports. Raises InputError when
    ceilings and machine are of different hosts or name a device that is not there.
    """
    if ceilings.host_key != machine.host_key:
        raise InputError(
            "these ceilings were measured on another machine.", "Measure: `topout machine`."
        )
    described = _gpu(machine, ceilings) if ceilings.device == "cuda" else _cpu(machine, ceilings)
    return msgspec.structs.replace(described, name=name, ceilings=ceilings, rates=list(rates))


def roofs_for(machine: Machine, ceilings: Ceilings | None, threads: int) -> Hardware | None:
    """The machine with the ceilings of so many threads; None where they are not known."""
    if ceilings is None:
        return None
    try:
        return hardware_of(machine, ceilings_at(ceilings, threads))
    except InputError:
        return None


def _cpu(machine: Machine, ceilings: Ceilings) -> Hardware:
    if machine.memory_bytes <= 0:
        raise InputError(
            "the size of this machine's memory is not known.", "Write a machine file by hand."
        )
    known = _same_cpu(machine)
    levels = [
        _level(ceilings, level, capacity)
        for level, capacity in (
            cache_capacities(machine.caches, machine.usable_cpus) if machine.caches else []
        )
    ]
    memory = _level(ceilings, "DRAM", machine.memory_bytes)
    reasons = _reasons(ceilings) | ({} if known else {"compute.spec": _NO_SPEC})
    if known is None:
        reasons["levels.spec"] = "the system does not tell what its memory is made for"
    reasons["links"] = "links between machines are not measured"
    return Hardware(
        name="",
        full_name=machine.cpu_model,
        device="cpu",
        vendor=machine.cpu_vendor or "unknown",
        cores=machine.physical_cores,
        clock_hz=ceilings.clock_hz or machine.clock_max_hz,
        source=f"described by topout on {_date(ceilings)}",
        memory_bytes=machine.memory_bytes,
        memory_source=f"described by topout on {_date(ceilings)}",
        compute=_merge_peaks(known, _measured_peaks(ceilings, machine)),
        levels=_merge_levels(known, [*levels, memory]),
        notes=f"{machine.usable_cpus} of {machine.logical_cpus} logical CPUs are usable.",
        reasons=reasons,
    )


def _gpu(machine: Machine, ceilings: Ceilings) -> Hardware:
    if not machine.gpus:
        raise InputError("this machine has no GPU that a driver describes.", "Use the CPU.")
    gpu = machine.gpus[0]
    known = same_device(gpu.name)
    # The set that was read is half of the cache (`topout.machine.torch_ceilings.read_sizes`).
    caches = [
        _level(ceilings, each.level, 2 * each.working_set_bytes)
        for each in ceilings.bandwidth
        if each.level not in MAIN_MEMORY
    ]
    memory = _level(ceilings, "HBM", gpu.memory_bytes)
    if known is not None and known.levels[-1].name != "HBM":
        memory = msgspec.structs.replace(memory, name=known.levels[-1].name)
    reasons = _reasons(ceilings)
    if known is None:
        reasons["compute.spec"] = f"the catalog has no device that is called {gpu.name!r}"
        reasons["links"] = reasons["compute.spec"]
    return Hardware(
        name="",
        full_name=gpu.name,
        device="gpu",
        vendor=known.vendor if known else gpu.name.split()[0],
        released=known.released if known else None,
        cores=known.cores if known else None,
        clock_hz=gpu.clock_max_hz,
        power_w=known.power_w if known else None,
        source=f"the driver, and {known.source}" if known else None,
        memory_bytes=gpu.memory_bytes,
        memory_source="as the driver tells it",
        compute=_merge_peaks(known, _measured_peaks(ceilings, machine)),
        levels=_merge_levels(known, [*caches, memory]),
        links=known.links if known else [],
        notes=f"Figures of the datasheet are those of {known.name!r}." if known else "",
        reasons=reasons,
    )


def _same_cpu(machine: Machine) -> Hardware | None:
    """The catalog's machine with this processor, if all cores of one socket may be used."""
    known = same_device(machine.cpu_model)
    whole = (
        known is not None
        and machine.sockets == 1
        and machine.physical_cores == known.cores
        and machine.usable_cpus >= (known.cores or 0)
    )
    return known if whole else None


def _measured_peaks(ceilings: Ceilings, machine: Machine) -> list[ComputePeak]:
    """The best rate of each data type and unit at the most threads that were measured."""
    best: dict[tuple[str, str], ComputeCeiling] = {}
    for each in ceilings_at(ceilings).compute:
        key = (each.dtype, _unit(each, ceilings.device, machine))
        if each.flops_per_s > getattr(best.get(key), "flops_per_s", 0.0):
            best[key] = each
    return [
        ComputePeak(
            dtype=each.dtype,
            unit=_unit(each, ceilings.device, machine),
            achievable_flops_per_s=each.flops_per_s,
            achievable_source=_measured_with(ceilings, each.threads, each.instruction),
        )
        for each in best.values()
    ]


def _unit(ceiling: ComputeCeiling, device: str, machine: Machine) -> Literal["vector", "matrix"]:
    """Whether a rate was reached by a matrix unit: tensor cores, or AMX through PyTorch."""
    if ceiling.dtype == "fp32":
        return "vector"
    if device == "cuda":
        capability = machine.gpus[0].compute_capability or f"{_FIRST_TENSOR_CORES}"
        return "matrix" if int(capability.split(".")[0]) >= _FIRST_TENSOR_CORES else "vector"
    amx = "amx_tile" in machine.vector_isa and ceiling.instruction == "torch matmul"
    return "matrix" if amx else "vector"


def _level(ceilings: Ceilings, name: str, capacity_bytes: int) -> MemoryLevel:
    """A level with its bandwidth at the most threads that were measured."""
    best = level_ceiling(ceilings, name)
    if best is None:
        return MemoryLevel(name=name, capacity_bytes=capacity_bytes)
    return MemoryLevel(
        name=name,
        capacity_bytes=capacity_bytes,
        achievable_bytes_per_s=best.bytes_per_s,
        achievable_source=_measured_with(ceilings, best.threads, f"reads, {best.page} pages"),
    )


def _merge_peaks(known: Hardware | None, measured: list[ComputePeak]) -> list[ComputePeak]:
    """The datasheet's peaks with what was measured here; what was not keeps what was published."""
    mine = {(each.dtype, each.unit): each for each in measured}
    merged: list[ComputePeak] = []
    for peak in known.compute if known else []:
        here = mine.pop((peak.dtype, peak.unit), None)
        merged.append(_with_spec(here, peak) if here else peak)
    return [*merged, *mine.values()]


def _merge_levels(known: Hardware | None, measured: list[MemoryLevel]) -> list[MemoryLevel]:
    """The levels found here, with the datasheet's rates, and its caches that were not found."""
    theirs = {each.name: each for each in known.levels} if known else {}
    caches = [each for name, each in theirs.items() if name not in {m.name for m in measured}]
    return caches + [
        _with_spec(each, theirs[each.name]) if each.name in theirs else each for each in measured
    ]


def _with_spec(here: _Rated, known: _Rated) -> _Rated:
    """What was measured here, else published, beside the datasheet's figure."""
    measured = {
        field: getattr(here, field)
        for field in here.__struct_fields__
        if not field.startswith("spec_") and getattr(here, field) is not None
    }
    return msgspec.structs.replace(known, **measured)


def _reasons(ceilings: Ceilings) -> dict[str, str]:
    """Why rates are missing, as the measurement says it."""
    return {
        field: reason
        for field, reason in ceilings.reasons.items()
        if field.startswith(("compute.", "bandwidth"))
    }


def _measured_with(ceilings: Ceilings, threads: int, how: str) -> str:
    count = f", {threads} thread{'' if threads == 1 else 's'}" if ceilings.device == "cpu" else ""
    return f"measured by topout on {_date(ceilings)}{count} ({how})"


def _date(ceilings: Ceilings) -> str:
    return ceilings.measured_at[:10]
