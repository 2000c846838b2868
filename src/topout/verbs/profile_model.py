"""`topout profile`: where the time of a model goes, and how far each part is from the roof."""

import time
from pathlib import Path

import msgspec

from topout.errors import InputError
from topout.generation.build import is_decoder
from topout.generation.subject import Setting, model_summary, resolve_subject, set_up
from topout.machine.catalog.measured import roofs_for
from topout.measure.worker import WorkerFailure
from topout.profiling.report import (
    TRACE_FILE,
    Captured,
    export_perfetto,
    export_tensorboard,
    fill_in,
    profile_doubts,
    profile_findings,
)
from topout.profiling.request import ProfileRequest
from topout.profiling.runs import run_in_turns
from topout.profiling.worker import ProfileProcess
from topout.progress import Notify, silent
from topout.records import ProfileReport
from topout.records.record import stamp
from topout.run_folder import RunFolder

_SCORED_TOKENS = 1  # of the text's windows, which nothing is verified on


def profile_model(
    request: ProfileRequest, *, notify: Notify = silent
) -> tuple[ProfileReport, RunFolder]:
    """Profile the model that a user names; returns the record and the folder with its trace.

    The profiled run is never the timed one: runs with and without the profiler take turns, and
    what it slows down is stated. Raises a TopoutError for bad input before anything is run,
    InputError where the model crashes or hangs, OutputError when a result cannot be written.
    """
    began = time.monotonic()
    request.check()
    subject = resolve_subject(request)
    with RunFolder.create("profile", subject.source.name) as folder:
        setting = set_up(subject, request.text, _SCORED_TOKENS, folder, notify)
        report = _profile(request, setting, folder, notify)
        report = msgspec.structs.replace(report, elapsed_s=time.monotonic() - began)
        folder.save(report)
    return report, folder


def _profile(
    request: ProfileRequest, setting: Setting, folder: RunFolder, notify: Notify
) -> ProfileReport:
    workload, trace = setting.workload, folder.path / TRACE_FILE
    weight_bytes, captured = _capture(request, setting, folder, trace, notify)
    notify("read the trace", 0.9)
    report = ProfileReport(
        **stamp(),
        subject=setting.source.name,
        machine=setting.machine,
        ceilings=setting.ceilings,
        model=model_summary(setting.source),
        workload=workload,
        backend=request.backend if is_decoder(setting.source) else "transformers",
        threads=workload.threads,
        weight_bytes=weight_bytes,
        doubts=setting.doubts,
    )
    report = fill_in(report, captured, request.wanted)
    report = msgspec.structs.replace(report, exports=_export(request, trace))
    doubts = [*setting.doubts, *profile_doubts(report)]
    return msgspec.structs.replace(report, doubts=doubts, findings=profile_findings(report))


def _capture(
    request: ProfileRequest, setting: Setting, folder: RunFolder, trace: Path, notify: Notify
) -> tuple[int, Captured]:
    """The bytes of the weights, and a captured run with the runs beside it."""
    threads, tokens = setting.workload.threads, request.run_tokens
    preparation = setting.preparation(request.backend)
    preparation = msgspec.structs.replace(preparation, warmup_tokens=tokens)
    try:
        with ProfileProcess(folder.logs / "profile.log", threads, tokens) as model:
            notify("load and warm up", 0.0)
            model.prepare(preparation)
            notify("count the operators' work", 0.1)
            count = model.counted()
            run, timed = run_in_turns(
                model.plain,
                lambda: model.captured(trace),
                request.repeats,
                lambda what, done: notify(what, 0.2 + 0.7 * done),
            )
    except WorkerFailure as failure:
        if failure.kind == "input":
            raise InputError(failure.message) from None
        raise InputError(
            f"{setting.source.name} {failure.message}.",
            f"See {folder.logs}; try fewer tokens or a smaller model.",
        ) from None
    roofs = roofs_for(setting.machine, setting.ceilings, threads)
    return model.weight_bytes, Captured(trace, run, timed, count, roofs, setting.workload.dtype)


def _export(request: ProfileRequest, trace: Path) -> list[str]:
    files = [trace]
    if request.perfetto is not None:
        files.append(export_perfetto(trace, request.perfetto))
    if request.tensorboard is not None:
        files.append(export_tensorboard(trace, request.tensorboard))
    return [str(file) for file in files]
