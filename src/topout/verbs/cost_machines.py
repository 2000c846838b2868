"""The machines that a cost is predicted for, each with what tells an op's time on it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from topout.cost.hardware_times import HardwareTimes
from topout.cost.measured_times import MeasuredTimes
from topout.cost.ops import OpTimer
from topout.errors import InputError
from topout.extras import has_extra
from topout.ladder.rates import (
    RatesRequest,
    agreeing_rates,
    cached_rates,
    load_or_measure_rates,
)
from topout.machine.catalog.find import find_hardware
from topout.machine.catalog.measured import hardware_of
from topout.machine.ceilings import cached_ceilings, load_or_measure_ceilings
from topout.machine.describe import describe
from topout.models.architecture import Architecture
from topout.progress import Notify
from topout.records import Hardware, Machine

HERE = "here"
# Overheads are measured on these: the architecture with the model's own kind of block.
_LIKE_GPT2 = "gpt2"
_LIKE_LLAMA = "llama-2-7b"
_MEASURED_MODES = {"compiled": "decoder_compiled", "eager": "transformers_eager"}


class Candidate(msgspec.Struct, frozen=True):
    """A machine and its clock."""

    hardware: Hardware
    timer: OpTimer


def candidates(
    names: Sequence[str],
    architecture: Architecture,
    mode: str,
    threads: int | None,
    progress: Notify | None = None,
) -> list[Candidate]:
    """The machines of these names; without any, this one if it was measured before.

    Raises UnknownNameError, RecordError, and InputError for a machine that is named twice.
    """
    check_names(names)
    if not names:
        hardware = measured_before(architecture, threads)
        return [] if hardware is None else [_candidate(hardware, mode, threads)]
    return [
        _candidate(
            measured_here(architecture, threads, quick=True, progress=progress)
            if name == HERE
            else find_hardware(name),
            mode,
            threads,
        )
        for name in names
    ]


def check_names(names: Sequence[str]) -> None:
    """Raise InputError for a machine that is named twice."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--on {name} is given twice.", "Name each machine once.")


def measured_before(architecture: Architecture, threads: int | None) -> Hardware | None:
    """This machine, if its ceilings are kept, and PyTorch's rates where those could be measured."""
    machine = describe()
    ceilings = cached_ceilings(machine)
    if ceilings is None:
        return None
    if not has_extra("climb"):
        return hardware_of(machine, ceilings, [], HERE)
    rates = cached_rates(machine, ceilings, _rates_request(architecture, machine, threads))
    return None if rates is None else hardware_of(machine, ceilings, [rates], HERE)


def measured_here(
    architecture: Architecture,
    threads: int | None = None,
    *,
    device: str = "cpu",
    refresh: bool = False,
    quick: bool = False,
    progress: Notify | None = None,
    name: str = HERE,
) -> Hardware:
    """This machine with its ceilings and PyTorch's rates, measured now unless they were before.

    `quick` ceilings suffice where it is asked for. Of a GPU the ceilings alone are measured, and so
    they are without the extra `climb`.
    """
    machine = describe()
    ceilings = load_or_measure_ceilings(machine, refresh, quick, progress, device)
    if device != "cpu" or not has_extra("climb"):
        return hardware_of(machine, ceilings, [], name)
    request = _rates_request(architecture, machine, threads)
    if progress is not None:
        progress("what PyTorch reaches here", 0.0)
    with tempfile.TemporaryDirectory(prefix="topout-") as folder:
        log = Path(folder) / "rates.log"
        ceilings, rates = agreeing_rates(
            ceilings,
            cached_rates(machine, ceilings, request),
            lambda those: load_or_measure_rates(machine, those, request, log, refresh=refresh),
            lambda: load_or_measure_ceilings(machine, True, ceilings.quick, progress, device),
        )
    if progress is not None:
        progress("what PyTorch reaches here", 1.0)
    return hardware_of(machine, ceilings, [rates], name)


def _rates_request(
    architecture: Architecture, machine: Machine, threads: int | None
) -> RatesRequest:
    gated = any(block.mlp.gated for block in architecture.blocks)
    return RatesRequest.like(_LIKE_LLAMA if gated else _LIKE_GPT2, threads or machine.usable_cpus)


def _candidate(hardware: Hardware, mode: str, threads: int | None) -> Candidate:
    """Measured machines are timed by what was measured on them, others by their figures."""
    if hardware.ceilings is None or not hardware.rates:
        return Candidate(hardware, HardwareTimes(hardware, mode))
    rates = hardware.rates[0]
    measured = {each.mode for each in rates.modes}
    wanted = _MEASURED_MODES[mode]
    if wanted not in measured:
        return Candidate(hardware, HardwareTimes(hardware, mode))
    timer = MeasuredTimes(hardware.ceilings, rates, threads or rates.threads, wanted)
    return Candidate(hardware, timer)
