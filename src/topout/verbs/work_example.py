"""`topout cost example`: a worked example on the roofline, and measured on this machine."""

from topout.cost.example_report import report_example
from topout.cost.examples import example
from topout.errors import InputError, TopoutError
from topout.machine.catalog.find import find_hardware
from topout.machine.catalog.measured import hardware_of
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.machine.examples import measure_example
from topout.options import takes
from topout.progress import Notify
from topout.records import ExampleReport, Hardware
from topout.verbs.cost_machines import HERE, check_names
from topout.verbs.cost_request import ExampleRequest


@takes(ExampleRequest)
def work_example(request: ExampleRequest, progress: Notify | None = None) -> ExampleReport:
    """The example's counts, what each machine allows it, and what this machine reached.

    It is measured where "here" is among the machines, or none is named. Raises InputError for a
    size out of range, UnknownNameError for a machine.
    """
    name, n = request.name, request.n
    counted = example(name, n)
    names = request.on or [HERE]
    check_names(names)
    if HERE not in names:
        hardware = [find_hardware(each) for each in names]
        return report_example(name, n, hardware, reason="`--on here` was not asked for")
    others = {each: find_hardware(each) for each in names if each != HERE}
    machine = describe()
    ceilings = load_or_measure_ceilings(machine, progress=progress)
    here = hardware_of(machine, ceilings, name=HERE)
    hardware_list: list[Hardware] = [others.get(each, here) for each in names]
    try:
        measured = measure_example(counted, machine, request.threads, progress)
    except InputError:
        raise
    except TopoutError as error:
        return report_example(name, n, hardware_list, reason=str(error))
    return report_example(name, n, hardware_list, measured)
