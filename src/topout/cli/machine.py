"""`topout machine` and its sub-commands."""

from topout.cli.outputs import JsonOutputs, Result, ShownOutputs
from topout.machine.effort import MachineRequest, SaveMachineRequest, ShowMachineRequest
from topout.options import Request
from topout.progress import Notify


def _report(request: MachineRequest, outputs: JsonOutputs, notify: Notify) -> Result:
    from topout.verbs.report_machine import report_machine

    return Result(report_machine(request, progress=notify))


def _list(request: Request, outputs: ShownOutputs, notify: Notify) -> Result:
    from topout.machine.catalog.find import known_hardware

    return Result(known_hardware())


def _show(request: ShowMachineRequest, outputs: JsonOutputs, notify: Notify) -> Result:
    from topout.machine.catalog.find import find_hardware

    return Result(find_hardware(request.name))


def _save(request: SaveMachineRequest, outputs: JsonOutputs, notify: Notify) -> Result:
    from topout.verbs.report_machine import save_machine

    hardware, path = save_machine(request, progress=notify)
    use = f"topout cost gpt2 --on {request.name}"
    return Result(hardware, note=f"Kept in {path}. Use it with: {use}")


ANSWERS = {"": _report, "list": _list, "show": _show, "save": _save}
