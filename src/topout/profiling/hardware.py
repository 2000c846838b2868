"""The machine of a profile as the roofline draws it: the ceilings of as many threads."""

from topout.errors import InputError
from topout.generation.hardware import ceilings_up_to
from topout.machine.catalog.measured import hardware_of
from topout.records import Ceilings, Hardware, Machine, ProfileReport


def roofs_for(machine: Machine, ceilings: Ceilings | None, threads: int) -> Hardware | None:
    """The machine with the ceilings of so many threads; None where they are not known."""
    if ceilings is None:
        return None
    try:
        return hardware_of(machine, ceilings_up_to(ceilings, threads))
    except InputError:
        return None


def hardware_of_profile(report: ProfileReport) -> Hardware | None:
    """The machine with the ceilings of the profile's threads; None where they are not known."""
    return roofs_for(report.machine, report.ceilings, report.threads)
