"""What a user asks of `topout machine` and its sub-commands."""

from typing import Annotated

from topout.options import Device, Option, Request

DeviceOption = Annotated[Device, Option("What is measured.")]
RefreshOption = Annotated[bool, Option("Measure again, also where it was measured before.")]
QuickOption = Annotated[bool, Option("Measure for seconds, not half a minute.")]


class MachineRequest(Request, frozen=True, kw_only=True):
    """The options of `topout machine`."""

    refresh: RefreshOption = False
    quick: QuickOption = False
    describe_only: Annotated[bool, Option("Measure nothing.")] = False
    device: DeviceOption = "cpu"


class ShowMachineRequest(Request, frozen=True, kw_only=True):
    """The options of `topout machine show`."""

    name: Annotated[
        str, Option("One that `topout machine list` names, or a file.", positional=True)
    ]


class SaveMachineRequest(Request, frozen=True, kw_only=True):
    """The options of `topout machine save`."""

    name: Annotated[str, Option("What `topout cost --on` is to call it.", positional=True)]
    device: DeviceOption = "cpu"
    refresh: RefreshOption = False
    quick: QuickOption = False
