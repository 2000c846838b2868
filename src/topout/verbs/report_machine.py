"""`topout machine`: this machine described, measured, and kept for predictions elsewhere."""

from pathlib import Path

from topout.machine.catalog.find import check_name, save_hardware
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.machine.effort import MachineRequest, SaveMachineRequest
from topout.models.architectures.read import find_architecture
from topout.options import takes
from topout.progress import Notify
from topout.records import Hardware, MachineReport
from topout.verbs.cost_machines import measured_here


@takes(MachineRequest)
def report_machine(request: MachineRequest, *, progress: Notify | None = None) -> MachineReport:
    """Describe this machine and measure its ceilings, or take those that are cached.

    Raises UnsupportedError for a device that is not there.
    """
    machine = describe(with_torch=True)
    if request.describe_only:
        reasons = {"ceilings": "not asked for"}
        return MachineReport(machine=machine, reasons=reasons)
    ceilings = load_or_measure_ceilings(
        machine, request.refresh, request.quick, progress, request.device
    )
    return MachineReport(machine=machine, ceilings=ceilings)


@takes(SaveMachineRequest)
def save_machine(
    request: SaveMachineRequest, *, progress: Notify | None = None
) -> tuple[Hardware, Path]:
    """Measure this machine, unless it was before, and keep it with what was measured.

    Raises InputError for a name that cannot be one; OutputError where the file cannot be written.
    """
    check_name(request.name)  # before minutes of measuring
    hardware = measured_here(
        find_architecture("gpt2"),
        device=request.device,
        refresh=request.refresh,
        quick=request.quick,
        progress=progress,
        name=request.name,
    )
    return hardware, save_hardware(hardware, request.name)
