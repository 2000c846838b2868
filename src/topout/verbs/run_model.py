"""`topout run`: how fast a model is now, and with another matrix product in PyTorch's place."""

import datetime
import importlib.metadata
import time

import msgspec

from topout.errors import InputError
from topout.generation.build import STATIC_CACHE
from topout.generation.placement import phase_ratios
from topout.generation.texts import cut_texts
from topout.kernels.cache import writable_cache_folder
from topout.ladder.worker import Preparation
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.measure.checks import FEW_SAMPLES, load_doubts, sample_doubts
from topout.measure.runner import Duel
from topout.measure.worker import WorkerFailure
from topout.models.load import ModelSource, resolve_model
from topout.progress import Notify
from topout.records import Ceilings, Doubt, Machine, RunSample, WorkloadSummary
from topout.records.climb import GemmSwap, RunReport, RunResult
from topout.run_folder import RunFolder
from topout.verbs.climb import model_choice, model_summary
from topout.verbs.run_findings import run_findings
from topout.verbs.run_placement import place_run
from topout.verbs.run_request import RunRequest
from topout.verbs.run_timing import TimedModel
from topout.verbs.run_worker import RunPreparation

PYTORCH = "pytorch"
_QUICK_TOKENS = 17  # timed of a generation; the first of them comes out of prefill
_SCORED_TOKENS = 32  # of the text that the output is verified on
_QUICK_SCORED_TOKENS = 8


class _Subject(msgspec.Struct, frozen=True):
    """What is run, checked and resolved, before anything is measured."""

    request: RunRequest
    source: ModelSource
    machine: Machine
    workload: WorkloadSummary
    timed_tokens: int
    scored_tokens: int


class _Measured(msgspec.Struct, frozen=True):
    """Runs of the model as it is, and of the other product in turns with them."""

    weight_bytes: int
    samples: list[RunSample]
    gemm: GemmSwap | None = None
    duel: Duel[RunSample] | None = None


def run_model(request: RunRequest, *, notify: Notify | None = None) -> tuple[RunReport, RunFolder]:
    """Measure what a user names; returns the record and the folder that it was written to.

    A version or file that crashes, hangs or changes the output is part of the result, with no
    speed. Raises a TopoutError for bad input before anything is measured, CompilerError for a
    source that does not compile, OutputError when the result cannot be written.
    """
    notify = notify or (lambda what, done: None)
    began = time.monotonic()
    subject = _resolve(request)
    folder = RunFolder.create("run", subject.source.name)
    try:
        report = _run(subject, folder, notify)
        report = msgspec.structs.replace(report, elapsed_s=time.monotonic() - began)
        folder.save(report)
    finally:
        folder.clean()
        folder.discard_if_empty()
    return report, folder


def _resolve(request: RunRequest) -> _Subject:
    """Everything that can be wrong with a request shows here."""
    request.check()
    source = resolve_model(request.model, random_weights=request.random_weights, seed=request.seed)
    machine = describe()
    workload = request.workload(source.config, machine.usable_cpus)
    choice = request.choice()
    if choice is not None:
        choice.compile()
    most_timed = _QUICK_TOKENS if request.quick else workload.new_tokens
    most_scored = _QUICK_SCORED_TOKENS if request.quick else _SCORED_TOKENS
    return _Subject(
        request=request,
        source=source,
        machine=machine,
        workload=workload,
        timed_tokens=min(most_timed, workload.new_tokens),
        scored_tokens=min(most_scored, workload.new_tokens),
    )


def _run(subject: _Subject, folder: RunFolder, notify: Notify) -> RunReport:
    workload, request = subject.workload, subject.request
    texts_path = folder.scratch / "texts.safetensors"
    texts = cut_texts(subject.source, workload, request.text, subject.scored_tokens, texts_path)
    workload = msgspec.structs.replace(workload, prompt_source=texts.description)
    doubts = load_doubts()
    notify("measure the machine's ceilings", 0.0)
    ceilings = load_or_measure_ceilings(subject.machine, quick=True)
    preparation = Preparation(
        stack=[STATIC_CACHE] if request.backend == "decoder" else [],
        model=model_choice(subject.source),
        draft=None,
        workload=workload,
        texts=str(texts_path.absolute()),
        quantized_folder=str(writable_cache_folder("quantized")),
    )
    measured = _measure(subject, preparation, folder, notify)
    return _report(subject, workload, ceilings, measured, doubts)


def _measure(
    subject: _Subject, preparation: Preparation, folder: RunFolder, notify: Notify
) -> _Measured:
    """Verify and time; a fault with the other product in place leaves PyTorch's own runs."""
    choice, repeats = subject.request.choice(), subject.request.repeat_count
    failed: GemmSwap | None = None
    if choice is not None:
        swap = GemmSwap(
            name=choice.name, source=str(choice.source) if choice.source is not None else None
        )
        try:
            with _worker(subject, folder, notify) as model:
                weight_bytes = model.prepare(
                    RunPreparation(preparation, subject.request.gemm, choice.dtype)
                )
                verification = model.verify()
                swap = msgspec.structs.replace(swap, verification=verification)
                if not verification.passed:
                    reason = f"The output is not right: {verification.reason}."
                    swap = msgspec.structs.replace(swap, reason=reason)
                    return _Measured(weight_bytes, model.run_alone(repeats), swap)
                duel = model.run_in_turns(repeats)
                swap = msgspec.structs.replace(swap, counts=model.counts())
                return _Measured(weight_bytes, duel.rival, swap, duel)
        except WorkerFailure as failure:
            reason = f"With {choice.name} in place the model {failure.message}."
            failed = msgspec.structs.replace(swap, reason=reason)
    try:
        with _worker(subject, folder, notify) as model:
            weight_bytes = model.prepare(RunPreparation(preparation, None, "fp32"))
            return _Measured(weight_bytes, model.run_alone(repeats), failed)
    except WorkerFailure as failure:
        raise InputError(
            f"{subject.source.name} {failure.message}.",
            f"See {folder.logs}; try fewer tokens or a smaller model.",
        ) from None


def _worker(subject: _Subject, folder: RunFolder, notify: Notify) -> TimedModel:
    log = folder.logs / "run.log"
    return TimedModel(log, subject.workload.threads, subject.timed_tokens, notify)


def _report(
    subject: _Subject,
    workload: WorkloadSummary,
    ceilings: Ceilings,
    measured: _Measured,
    doubts: list[Doubt],
) -> RunReport:
    config = subject.source.config

    def placed(name: str, samples: list[RunSample]) -> RunResult:
        return place_run(name, samples, config, workload, ceilings)

    gemm, duel = measured.gemm, measured.duel
    doubts = [*doubts, *_sample_doubts(PYTORCH, measured.samples)]
    if gemm is not None and duel is not None:
        ratios = phase_ratios(duel)
        gemm = msgspec.structs.replace(
            gemm,
            result=placed(gemm.name, duel.candidate),
            prefill_speedup=ratios.prefill,
            decode_speedup=ratios.decode,
            speedup=duel.ratio(),
        )
        doubts += _sample_doubts(gemm.name, duel.candidate)
    report = RunReport(
        topout_version=importlib.metadata.version("topout"),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        elapsed_s=0.0,
        machine=subject.machine,
        ceilings=ceilings,
        model=model_summary(subject.source, None),
        workload=workload,
        backend=subject.request.backend,
        weight_bytes=measured.weight_bytes,
        result=placed(PYTORCH, measured.samples),
        gemm=gemm,
        doubts=doubts,
    )
    return msgspec.structs.replace(report, findings=run_findings(report))


def _sample_doubts(about: str, samples: list[RunSample]) -> list[Doubt]:
    """Those of the samples; where they are few, that is the doubt."""
    if len(samples) >= FEW_SAMPLES:
        return sample_doubts(about, samples)
    count = f"{len(samples)} run{'' if len(samples) == 1 else 's'}"
    return [
        Doubt(about=about, sentence=f"Only {count} stand behind it.", remedy="Give --repeats 5.")
    ]
