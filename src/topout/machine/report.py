"""What `topout machine` answers: the machine described, and what it was measured to reach."""

from collections.abc import Callable

from topout.errors import InputError
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.records import MachineReport

DEVICES = ("cpu", "cuda")


def check_device(device: str) -> None:
    """Raise InputError for a device that topout does not know."""
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}.", f"Give {' or '.join(DEVICES)}.")


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
