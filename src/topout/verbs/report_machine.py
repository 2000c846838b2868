"""`topout machine`: this machine described, measured, and kept for predictions elsewhere."""

from collections.abc import Callable
from pathlib import Path

from topout.machine.catalog.find import save_hardware
from topout.machine.ceilings import check_device, load_or_measure_ceilings
from topout.machine.describe import describe
from topout.models.architectures.read import find_architecture
from topout.records import Hardware, MachineReport
from topout.verbs.cost_machines import measured_here


def report_machine(
    *,
    refresh: bool = False,
    quick: bool = False,
    describe_only: bool = False,
    device: str = "cpu",
    progress: Callable[[str, float], None] | None = None,
) -> MachineReport:
    """Describe this machine and measure its ceilings, or take those that are cached.

    Raises InputError for an unknown device, UnsupportedError for one that is not there.
    """
    check_device(device)
    machine = describe(with_torch=True)
    if describe_only:
        reasons = {"ceilings": "not asked for"}
        return MachineReport(machine=machine, reasons=reasons)
    ceilings = load_or_measure_ceilings(machine, refresh, quick, progress, device)
    return MachineReport(machine=machine, ceilings=ceilings)


def save_machine(
    name: str,
    *,
    device: str = "cpu",
    refresh: bool = False,
    quick: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[Hardware, Path]:
    """Measure this machine, unless it was before, and keep it under `name` with what was measured.

    Raises InputError for a name that cannot be one, or an unknown device; OutputError where the
    file cannot be written.
    """
    check_device(device)
    like_gpt2 = find_architecture("gpt2")
    hardware = measured_here(
        like_gpt2, device=device, refresh=refresh, quick=quick, progress=progress, name=name
    )
    return hardware, save_hardware(hardware, name)
