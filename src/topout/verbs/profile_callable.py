"""`topout.profile`: where the time of any PyTorch code goes, a training step included."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from topout.errors import InputError
from topout.machine.catalog.measured import roofs_for
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.machine.kept import kept_doubts
from topout.profiling.report import (
    TRACE_FILE,
    Captured,
    export_perfetto,
    export_tensorboard,
    fill_in,
    profile_doubts,
    profile_findings,
)
from topout.profiling.request import check_exports
from topout.profiling.runs import run_captured, run_counted, run_in_turns, run_plain
from topout.progress import Notify, silent
from topout.records import Ceilings, Count, Machine, PeakDtype, ProfileReport
from topout.records.record import stamp
from topout.trace.capture import Phases

_DTYPES: dict[torch.dtype, PeakDtype] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float64: "fp64",
}


def profile(
    function: Callable[..., object],
    *args: Any,
    warmup: int = 1,
    repeats: int = 3,
    name: str | None = None,
    modules: Mapping[str, nn.Module] | None = None,
    dtype: PeakDtype | None = None,
    count_work: bool = True,
    ceilings: Ceilings | bool = True,
    perfetto: Path | None = None,
    tensorboard: Path | None = None,
    notify: Notify = silent,
) -> ProfileReport:
    """Profile `function(*args)`: operators, modules, rates, gaps, memory; in this process.

    It is called `warmup` times, once to count the work of its operators (`count_work`), then
    `repeats` times without the profiler and as often with it, in turns; the tables are of the last
    call. A training step may be given: it then takes so many steps. `modules` names modules that
    are called inside; others are named after their classes. `dtype` is the type whose measured
    arithmetic rate work is compared with (default: that of the parameters, else fp32); `ceilings`
    are measured where they are not known (about 5 s), given, or left out with False. The trace is
    exported where `perfetto` (a file) and `tensorboard` (a folder) say. Raises InputError for
    arguments that cannot be meant, OutputError for a trace that cannot be written, and whatever
    the function raises.
    """
    _check(function, warmup, repeats)
    check_exports(perfetto, tensorboard)
    began = time.monotonic()
    machine, threads = describe(), torch.get_num_threads()
    roots = _roots(function, modules)
    for number in range(warmup):
        notify("warm up", 0.1 * number / warmup)
        function(*args)
    known = _ceilings(machine, ceilings, _on_gpu(roots))
    report = ProfileReport(
        **stamp(),
        subject=name or _name_of(function),
        machine=machine,
        ceilings=known,
        threads=threads,
        reasons={} if known is not None else {"ceilings": "not asked for"},
    )
    with tempfile.TemporaryDirectory(prefix="topout-profile-") as folder:
        path = Path(folder) / TRACE_FILE
        notify("count the operators' work", 0.1)
        count = run_counted(lambda _: function(*args), function) if count_work else None
        captured, timed = run_in_turns(
            lambda: run_plain(_once(function, args), threads),
            lambda: run_captured(_once(function, args), path, roots),
            repeats,
            lambda what, done: notify(what, 0.2 + 0.7 * done),
        )
        notify("read the trace", 0.9)
        hardware = roofs_for(machine, known, threads)
        found = Captured(path, captured, timed, count, hardware, dtype or _dtype(roots))
        report = fill_in(report, found)
        exports = [
            *([export_perfetto(path, perfetto)] if perfetto is not None else []),
            *([export_tensorboard(path, tensorboard)] if tensorboard is not None else []),
        ]
    report = msgspec.structs.replace(
        report,
        exports=[str(file) for file in exports],
        reasons=report.reasons | _uncounted_reason(count),
        elapsed_s=time.monotonic() - began,
    )
    disturbances = kept_doubts(known) if known is not None else []
    doubts = [*disturbances, *profile_doubts(report)]
    return msgspec.structs.replace(report, findings=profile_findings(report), doubts=doubts)


def _check(function: object, warmup: int, repeats: int) -> None:
    if not callable(function):
        raise InputError(f"{function!r} cannot be called.", "Give a function or a module.")
    if warmup < 0:
        raise InputError(f"warmup={warmup} is too small.", "Give 0 or more.")
    if repeats < 1:
        raise InputError(f"repeats={repeats} is too small.", "Give at least 1.")


def _once(function: Callable[..., object], args: tuple[Any, ...]) -> Callable[[Phases], None]:
    def run(phases: Phases) -> None:
        phases.begin("call 1")
        function(*args)

    return run


def _roots(
    function: Callable[..., object], modules: Mapping[str, nn.Module] | None
) -> dict[str, nn.Module]:
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    own = {"": owner} if isinstance(owner, nn.Module) else {}
    return own | dict(modules or {})


def _name_of(function: Callable[..., object]) -> str:
    if isinstance(function, nn.Module):
        return type(function).__name__
    return getattr(function, "__qualname__", type(function).__name__)


def _dtype(roots: Mapping[str, nn.Module]) -> PeakDtype:
    """That of the first parameter whose type has a roof."""
    for root in roots.values():
        for parameter in root.parameters():
            if parameter.dtype in _DTYPES:
                return _DTYPES[parameter.dtype]
    return "fp32"


def _on_gpu(roots: Mapping[str, nn.Module]) -> bool:
    return any(parameter.is_cuda for root in roots.values() for parameter in root.parameters())


def _ceilings(machine: Machine, wanted: Ceilings | bool, on_gpu: bool) -> Ceilings | None:
    if isinstance(wanted, Ceilings):
        return wanted
    if not wanted:
        return None
    device = "cuda" if on_gpu else "cpu"
    return load_or_measure_ceilings(machine, quick=True, device=device)


def _uncounted_reason(count: Count | None) -> dict[str, str]:
    if count is None or count.failure is None:
        return {}
    return {"rates": f"the counting run failed: {count.failure.message}"}
