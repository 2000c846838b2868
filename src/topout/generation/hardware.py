"""The machine of a run as the roofline draws it: what as many threads were measured to reach."""

import msgspec

from topout.errors import InputError
from topout.machine.catalog.measured import hardware_of
from topout.records import BandwidthCeiling, Ceilings, ComputeCeiling, Hardware
from topout.records.climb import RunReport


def hardware_of_run(report: RunReport) -> Hardware | None:
    """The machine with the ceilings of the run's threads; None where they are not known."""
    if report.ceilings is None:
        return None
    threads = report.workload.threads
    try:
        return hardware_of(report.machine, ceilings_up_to(report.ceilings, threads))
    except InputError:
        return None


def ceilings_up_to(ceilings: Ceilings, threads: int) -> Ceilings:
    """Without those of more threads, unless there are no others."""

    def of_few(each: ComputeCeiling | BandwidthCeiling) -> bool:
        return each.threads <= threads

    return msgspec.structs.replace(
        ceilings,
        compute=list(filter(of_few, ceilings.compute)) or ceilings.compute,
        bandwidth=list(filter(of_few, ceilings.bandwidth)) or ceilings.bandwidth,
    )
