"""`topout machine`."""

from typing import Annotated

import typer

from topout.cli.outputs import DeviceOption, JsonOption, check_outputs, write_json
from topout.errors import InputError


def machine(
    refresh: Annotated[bool, typer.Option(help="Measure the ceilings again.")] = False,
    quick: Annotated[bool, typer.Option(help="Measure for seconds, not half a minute.")] = False,
    describe_only: Annotated[bool, typer.Option(help="Measure nothing.")] = False,
    device: DeviceOption = "cpu",
    known: Annotated[
        bool, typer.Option("--list", help="The machines that `topout cost --on` knows.")
    ] = False,
    show: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of them: its figures and sources.")
    ] = None,
    save: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep this machine for `topout cost --on`.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """What is this machine, and what can it reach?"""
    check_outputs(json, None)
    if sum((known, show is not None, save is not None)) > 1:
        raise InputError("--list, --show and --save are three questions.", "Ask one at a time.")
    if known:
        return _list()
    if show is not None:
        return _show(show, json)
    if save is not None and describe_only:
        raise InputError("--save keeps what was measured.", "Leave --describe-only out.")
    if save is not None:
        return _save(save, device, refresh, quick, json)
    return _report(refresh, quick, describe_only, device, json)


def _report(refresh: bool, quick: bool, describe_only: bool, device: str, json: str | None) -> None:
    from topout.progress import progress_bar
    from topout.verbs.report_machine import report_machine

    with progress_bar() as progress:
        report = report_machine(
            refresh=refresh,
            quick=quick,
            describe_only=describe_only,
            device=device,
            progress=progress,
        )
    if json != "-":
        from rich.console import Console

        from topout.report.machine.table import machine_table

        Console().print(machine_table(report))
    write_json(report, json)


def _list() -> None:
    from rich.console import Console

    from topout.machine.catalog.find import known_hardware
    from topout.report.machine.hardware_table import hardware_list_table

    Console().print(hardware_list_table(known_hardware()))


def _show(name: str, json: str | None) -> None:
    from topout.machine.catalog.find import find_hardware
    from topout.report.machine.hardware_table import hardware_table

    hardware = find_hardware(name)
    if json != "-":
        from rich.console import Console

        Console().print(hardware_table(hardware))
    write_json(hardware, json)


def _save(name: str, device: str, refresh: bool, quick: bool, json: str | None) -> None:
    import sys

    from topout.progress import progress_bar
    from topout.report.machine.hardware_table import hardware_table
    from topout.verbs.report_machine import save_machine

    with progress_bar() as progress:
        hardware, path = save_machine(
            name, device=device, refresh=refresh, quick=quick, progress=progress
        )
    if json != "-":
        from rich.console import Console

        Console().print(hardware_table(hardware))
    print(f"Kept in {path}. Use it with: topout cost gpt2 --on {name}", file=sys.stderr)  # noqa: T201
    write_json(hardware, json)
