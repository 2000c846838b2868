"""`topout machine --save`: this machine as one that costs can be predicted for elsewhere."""

from collections.abc import Callable
from pathlib import Path

from topout.machine.catalog import save_hardware
from topout.machine.report import check_device
from topout.models.architectures.read import find_architecture
from topout.records import Hardware
from topout.verbs.cost_machines import measured_here


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
