"""`topout machine`: this machine described, measured, and kept for predictions elsewhere."""

from pathlib import Path

from topout.machine.catalog.find import place_of, save_hardware
from topout.machine.ceilings import kept_ceilings, load_or_measure_ceilings, main_rates
from topout.machine.describe import describe
from topout.machine.effort import MachineRequest, SaveMachineRequest
from topout.machine.kept import disturbances_of
from topout.models.architectures.read import find_architecture
from topout.options import takes
from topout.progress import Notify
from topout.records import Ceilings, Hardware, KeptMeasurement, MachineReport
from topout.verbs.cost_machines import measured_here


@takes(MachineRequest)
def report_machine(request: MachineRequest, *, progress: Notify | None = None) -> MachineReport:
    """Describe this machine and measure its ceilings, or take those that stand of the kept ones.

    Raises UnsupportedError for a device that is not there.
    """
    machine = describe(with_torch=True)
    if request.describe_only:
        reasons = {"ceilings": "not asked for"}
        return MachineReport(machine=machine, reasons=reasons)
    ceilings = load_or_measure_ceilings(
        machine, request.refresh, request.quick, progress, request.device
    )
    others = [each for each in kept_ceilings(machine, request.device) if each != ceilings]
    kept = [_summary(ceilings, True), *(_summary(each, False) for each in others)]
    return MachineReport(machine=machine, ceilings=ceilings, kept=kept)


def _summary(ceilings: Ceilings, stands: bool) -> KeptMeasurement:
    flops_per_s, bytes_per_s = main_rates(ceilings)
    return KeptMeasurement(
        measured_at=ceilings.measured_at,
        quick=ceilings.quick,
        stands=stands,
        flops_per_s=flops_per_s,
        bytes_per_s=bytes_per_s,
        disturbances=[each.sentence for each in disturbances_of(ceilings)],
    )


@takes(SaveMachineRequest)
def save_machine(
    request: SaveMachineRequest, *, progress: Notify | None = None
) -> tuple[Hardware, Path]:
    """Measure this machine, unless it was before, and keep it with what was measured.

    Raises InputError for a name that cannot be one; OutputError where the file cannot be written.
    """
    place_of(request.name)  # before minutes of measuring
    hardware = measured_here(
        find_architecture("gpt2"),
        device=request.device,
        refresh=request.refresh,
        quick=request.quick,
        progress=progress,
        name=request.name,
    )
    return hardware, save_hardware(hardware, request.name)
