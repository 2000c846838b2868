"""`topout profile`: where the time of a model goes, and how far each part is from the roof."""

import datetime
import importlib.metadata
import time
from pathlib import Path

import msgspec

from topout.errors import InputError
from topout.generation.build import STATIC_CACHE
from topout.generation.texts import cut_texts
from topout.kernels.cache import writable_cache_folder
from topout.ladder.worker import Preparation
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.measure.checks import load_doubts
from topout.measure.worker import WorkerFailure
from topout.models.load import ModelSource, resolve_model
from topout.profiling.findings import profile_doubts, profile_findings
from topout.profiling.hardware import roofs_for
from topout.profiling.phases import Timed
from topout.profiling.report import (
    TRACE_FILE,
    Captured,
    export_perfetto,
    export_tensorboard,
    fill_in,
)
from topout.profiling.request import ProfileRequest
from topout.profiling.runs import CapturedRun
from topout.profiling.session import ProfiledModel, run_in_turns
from topout.profiling.worker import ProfilePreparation
from topout.progress import Notify
from topout.records import Ceilings, Count, Doubt, Machine, ProfileReport, WorkloadSummary
from topout.run_folder import RunFolder
from topout.verbs.climb import model_choice, model_summary

_SCORED_TOKENS = 1  # of the text's windows, which nothing is verified on


class _Subject(msgspec.Struct, frozen=True):
    """What is profiled, checked and resolved, before anything is run."""

    request: ProfileRequest
    source: ModelSource
    machine: Machine
    workload: WorkloadSummary


class _Runs(msgspec.Struct, frozen=True):
    """What the worker gave."""

    weight_bytes: int
    captured: CapturedRun
    timed: Timed
    count: Count


def profile_model(
    request: ProfileRequest, *, notify: Notify | None = None
) -> tuple[ProfileReport, RunFolder]:
    """Profile the model that a user names; returns the record and the folder with its trace.

    The profiled run is never the timed one: runs with and without the profiler take turns, and
    what it slows down is stated. Raises a TopoutError for bad input before anything is run,
    InputError where the model crashes or hangs, OutputError when a result cannot be written.
    """
    notify = notify or (lambda what, done: None)
    began = time.monotonic()
    subject = _resolve(request)
    folder = RunFolder.create("profile", subject.source.name)
    try:
        report = _profile(subject, folder, notify)
        report = msgspec.structs.replace(report, elapsed_s=time.monotonic() - began)
        folder.save(report)
    finally:
        folder.clean()
        folder.discard_if_empty()
    return report, folder


def _resolve(request: ProfileRequest) -> _Subject:
    """Everything that can be wrong with a request shows here."""
    request.check()
    source = resolve_model(request.model, random_weights=request.random_weights, seed=request.seed)
    machine = describe()
    return _Subject(request, source, machine, request.workload(source.config, machine.usable_cpus))


def _profile(subject: _Subject, folder: RunFolder, notify: Notify) -> ProfileReport:
    workload, request = subject.workload, subject.request
    texts_path = folder.scratch / "texts.safetensors"
    texts = cut_texts(subject.source, workload, request.text, _SCORED_TOKENS, texts_path)
    workload = msgspec.structs.replace(workload, prompt_source=texts.description)
    doubts = load_doubts()
    notify("measure the machine's ceilings", 0.0)
    ceilings = load_or_measure_ceilings(subject.machine, quick=True, device=workload.device)
    preparation = Preparation(
        stack=[STATIC_CACHE] if request.backend == "decoder" else [],
        model=model_choice(subject.source),
        draft=None,
        workload=workload,
        texts=str(texts_path.absolute()),
        quantized_folder=str(writable_cache_folder("quantized")),
    )
    trace_path = folder.path / TRACE_FILE
    runs = _run(subject, preparation, folder, trace_path, notify)
    notify("read the trace", 0.9)
    report = _empty(subject, workload, ceilings, runs.weight_bytes, doubts)
    report = fill_in(
        report,
        Captured(
            trace_path,
            runs.captured,
            runs.timed,
            runs.count,
            roofs_for(subject.machine, ceilings, workload.threads),
            workload.dtype,
        ),
        request.wanted,
    )
    report = msgspec.structs.replace(report, exports=_export(request, trace_path))
    doubts = [*doubts, *profile_doubts(report)]
    return msgspec.structs.replace(report, doubts=doubts, findings=profile_findings(report))


def _run(
    subject: _Subject,
    preparation: Preparation,
    folder: RunFolder,
    trace_path: Path,
    notify: Notify,
) -> _Runs:
    request = subject.request
    try:
        with ProfiledModel(folder.logs / "profile.log", subject.workload.threads) as model:
            notify("load and warm up", 0.0)
            weight_bytes, _ = model.prepare(ProfilePreparation(preparation, request.run_tokens))
            notify("count the operators' work", 0.1)
            count = model.counted()
            captured, timed = run_in_turns(
                model.plain,
                lambda: model.captured(trace_path),
                request.repeats,
                lambda what, done: notify(what, 0.2 + 0.7 * done),
            )
            return _Runs(weight_bytes, captured, timed, count)
    except WorkerFailure as failure:
        raise InputError(
            f"{subject.source.name} {failure.message}.",
            f"See {folder.logs}; try fewer tokens or a smaller model.",
        ) from None


def _empty(
    subject: _Subject,
    workload: WorkloadSummary,
    ceilings: Ceilings,
    weight_bytes: int,
    doubts: list[Doubt],
) -> ProfileReport:
    return ProfileReport(
        topout_version=importlib.metadata.version("topout"),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        subject=subject.source.name,
        machine=subject.machine,
        ceilings=ceilings,
        model=model_summary(subject.source, None),
        workload=workload,
        backend=subject.request.backend,
        threads=workload.threads,
        weight_bytes=weight_bytes,
        doubts=doubts,
    )


def _export(request: ProfileRequest, trace: Path) -> list[str]:
    files = [trace]
    if request.perfetto is not None:
        files.append(export_perfetto(trace, request.perfetto))
    if request.tensorboard is not None:
        files.append(export_tensorboard(trace, request.tensorboard))
    return [str(file) for file in files]
