"""`topout run`: how fast a model is now, and with another matrix product in PyTorch's place."""

import time

import msgspec

from topout import units
from topout.cost.predict import Expectation
from topout.errors import InputError
from topout.gemm.sources import GemmChoice
from topout.generation.build import is_decoder
from topout.generation.placement import (
    exceeded_by,
    is_above_ceiling,
    phase_ratios,
    place_run,
    room_of,
)
from topout.generation.subject import Setting, model_summary, resolve_subject, set_up
from topout.measure.disturbance import disturbance_doubts, disturbed_pairs
from topout.measure.runner import Duel
from topout.measure.stats import FEW_SAMPLES, sample_doubts
from topout.measure.worker import WorkerFailure
from topout.progress import Notify, silent
from topout.records import Bound, Doubt, PhaseResult, RunSample
from topout.records.climb import GemmSwap, ProductCounts, RunReport, RunResult
from topout.records.record import stamp
from topout.roofline import exceeded_doubts, share_of
from topout.run_folder import RunFolder
from topout.speed_words import ratio_words
from topout.verbs.run_request import RunRequest
from topout.verbs.run_worker import RunProcess

PYTORCH = "pytorch"
_QUICK_TOKENS = 17  # timed of a generation; the first of them comes out of prefill
_SCORED_TOKENS = 32  # of the text that the output is verified on
_QUICK_SCORED_TOKENS = 8
_BOUNDS: dict[Bound, str] = {
    "compute": "the arithmetic takes the larger part of its time",
    "memory": "reading weights and cache takes the larger part of its time",
    "overhead": "the larger part of its time is neither arithmetic nor reading at these rates",
}


class _Measured(msgspec.Struct, frozen=True):
    """Runs of the model as it is, and of the other product in turns with them."""

    weight_bytes: int
    samples: list[RunSample]
    gemm: GemmSwap | None = None
    duel: Duel[RunSample] | None = None


def run_model(request: RunRequest, *, notify: Notify = silent) -> tuple[RunReport, RunFolder]:
    """Measure what a user names; returns the record and the folder that it was written to.

    A version or file that crashes, hangs or changes the output is part of the result, with no
    speed. Raises a TopoutError for bad input before anything is measured, CompilerError for a
    source that does not compile, OutputError when the result cannot be written.
    """
    began = time.monotonic()
    request.check()
    subject = resolve_subject(request)
    choice = request.choice()
    if choice is not None:
        choice.compile()
    scored = _QUICK_SCORED_TOKENS if request.quick else _SCORED_TOKENS
    with RunFolder.create("run", subject.source.name) as folder:
        scored_tokens = min(scored, subject.workload.new_tokens)
        setting = set_up(subject, request.text, scored_tokens, folder, notify)
        report = _report(request, setting, _measure(request, choice, setting, folder, notify))
        report = msgspec.structs.replace(report, elapsed_s=time.monotonic() - began)
        folder.save(report)
    return report, folder


def _measure(
    request: RunRequest,
    choice: GemmChoice | None,
    setting: Setting,
    folder: RunFolder,
    notify: Notify,
) -> _Measured:
    """Time both ways; a fault with the other product in place leaves PyTorch's own runs."""
    new_tokens = setting.workload.new_tokens
    timed_tokens = min(_QUICK_TOKENS, new_tokens) if request.quick else new_tokens

    def process() -> RunProcess:
        log = folder.logs / "run.log"
        return RunProcess(log, setting.workload.threads, timed_tokens, notify)

    failed: GemmSwap | None = None
    if choice is not None:
        with process() as model:
            found = _measure_routed(request, choice, setting, folder, model)
        if isinstance(found, _Measured):
            return found
        failed = found
    try:
        with process() as model:
            model.prepare(setting.preparation(request.backend))
            return _Measured(
                model.weight_bytes,
                model.run_alone(request.repeats_of(setting.workload.task)),
                failed,
            )
    except WorkerFailure as failure:
        if failure.kind == "input":
            raise InputError(failure.message) from None
        raise InputError(
            f"{setting.source.name} {failure.message}.",
            f"See {folder.logs}; try fewer tokens or a smaller model.",
        ) from None


def _measure_routed(
    request: RunRequest,
    choice: GemmChoice,
    setting: Setting,
    folder: RunFolder,
    model: RunProcess,
) -> _Measured | GemmSwap:
    """The model with another product in place, verified, then timed; the swap alone if it fails."""
    source = str(choice.source) if choice.source is not None else None
    swap = GemmSwap(name=choice.name, source=source)
    repeats = request.repeats_of(setting.workload.task)
    windows = request.batch_size
    assert request.gemm is not None
    try:
        model.prepare(setting.preparation(request.backend))
        model.route(request.gemm, choice.dtype)
        texts = setting.texts
        text_bytes = sum(texts.scored_bytes[:windows])
        reference = folder.scratch / "reference.safetensors"
        verification = model.verify_routed(
            reference, texts.prompt_lens[:windows], texts.scored_tokens, text_bytes
        )
        swap = msgspec.structs.replace(swap, verification=verification)
        if not verification.passed:
            reason = f"The output is not right: {verification.reason}."
            swap = msgspec.structs.replace(swap, reason=reason)
            return _Measured(model.weight_bytes, model.run_alone(repeats), swap)
        duel = model.run_in_turns(repeats)
        swap = msgspec.structs.replace(swap, counts=model.counts())
        return _Measured(model.weight_bytes, duel.rival, swap, duel)
    except WorkerFailure as failure:
        reason = f"With {choice.name} in place the model {failure.message}."
        return msgspec.structs.replace(swap, reason=reason)


def _report(request: RunRequest, setting: Setting, measured: _Measured) -> RunReport:
    workload, config = setting.workload, setting.source.config
    expectation = Expectation(dtype=workload.dtype)

    def placed(name: str, samples: list[RunSample]) -> RunResult:
        placement = place_run(samples, config, expectation, workload, setting.ceilings)
        return RunResult(name=name, samples=samples, **msgspec.structs.asdict(placement))

    gemm, duel = measured.gemm, measured.duel
    doubts = [*setting.doubts, *_sample_doubts(PYTORCH, measured.samples)]
    if gemm is not None and duel is not None:
        ratios = phase_ratios(duel)
        gemm = msgspec.structs.replace(
            gemm,
            result=placed(gemm.name, duel.candidate),
            prefill_speedup=ratios.prefill,
            decode_speedup=ratios.decode,
            speedup=duel.ratio(),
            disturbed=disturbed_pairs(duel),
        )
        doubts += _sample_doubts(gemm.name, duel.candidate) + disturbance_doubts("runs", duel)
    report = RunReport(
        **stamp(),
        elapsed_s=0.0,
        machine=setting.machine,
        ceilings=setting.ceilings,
        model=model_summary(setting.source),
        workload=workload,
        backend=request.backend if is_decoder(setting.source) else "transformers",
        weight_bytes=measured.weight_bytes,
        result=placed(PYTORCH, measured.samples),
        gemm=gemm,
        doubts=doubts,
    )
    doubts += ceiling_doubts(report)
    return msgspec.structs.replace(report, findings=run_findings(report), doubts=doubts)


def ceiling_doubts(report: RunReport) -> list[Doubt]:
    """The ceilings that a phase was measured above."""
    return exceeded_doubts(
        [found for each in report.results for found in exceeded_by(each.name, *each.phases)]
    )


def _sample_doubts(about: str, samples: list[RunSample]) -> list[Doubt]:
    """Those of the samples; where they are few, that is the doubt."""
    if len(samples) >= FEW_SAMPLES:
        return sample_doubts(about, samples)
    sentence = f"Only {units.counted(len(samples), 'run')} stand behind it."
    return [Doubt(about=about, sentence=sentence, remedy="Give --repeats 5.")]


def run_findings(report: RunReport) -> list[str]:
    """How far each phase is from its limit, and what another matrix product did."""
    prefill, decode = report.result.prefill, report.result.decode
    if decode is None:
        findings = [_compute_sentence("A pass", prefill)]
    else:
        findings = [_compute_sentence("Prefill", prefill), _decode_sentence(decode)]
    if report.gemm is not None:
        findings += _gemm_sentences(report.gemm)
    return findings + _room_sentences(report)


def _room_sentences(report: RunReport) -> list[str]:
    """How far the ceilings are, most first, and what tries the way there."""
    named = {"prefill": "all of prefill", "decode": "a token in decode", "forward": "a pass"}
    rooms = [
        found
        for name, phase in report.result.phases
        if (found := room_of(phase, named[name], f"in {name}")) is not None
    ]
    sentences = [sentence for _, sentence in sorted(rooms, reverse=True)]
    if sentences:
        sentences[0] += " `topout climb` tries what applies, and proves it."
    return sentences


def _compute_sentence(what: str, prefill: PhaseResult) -> str:
    reached = units.flops_per_s(prefill.flops / prefill.time_s.median)
    text = f"{what} does {reached}"
    if prefill.ceiling_flops_per_s and prefill.mfu_of_ceiling is not None:
        text += (
            f", {share_of(prefill.mfu_of_ceiling)} of the "
            f"{units.flops_per_s(prefill.ceiling_flops_per_s)} that this machine was measured to "
            "reach"
        )
    return f"{text}; {_bound(prefill)}."


def _bound(phase: PhaseResult) -> str:
    if is_above_ceiling(phase):
        return "what bounds it is not known until the ceiling is measured again"
    return _BOUNDS[phase.bound]


def _decode_sentence(decode: PhaseResult) -> str:
    reached = units.bytes_per_s(decode.bytes / decode.time_s.median)
    text = f"Decode reads {reached}"
    if decode.ceiling_bytes_per_s and decode.mbu_of_ceiling is not None:
        text += (
            f", {share_of(decode.mbu_of_ceiling)} of the "
            f"{units.bytes_per_s(decode.ceiling_bytes_per_s)} measured"
        )
    return f"{text}; {_bound(decode)}."


def _gemm_sentences(gemm: GemmSwap) -> list[str]:
    if gemm.reason is not None:
        return [f"{gemm.name} has no speed. {gemm.reason}"]
    sentences = []
    if gemm.prefill_speedup is not None and gemm.decode_speedup is None:
        faster = ratio_words(gemm.prefill_speedup, "as fast")
        sentences.append(f"With {gemm.name} in PyTorch's place a pass is {faster}.")
    if gemm.prefill_speedup is not None and gemm.decode_speedup is not None:
        sentences.append(
            f"With {gemm.name} in PyTorch's place prefill is "
            f"{ratio_words(gemm.prefill_speedup, 'as fast')}; decode is "
            f"{ratio_words(gemm.decode_speedup, 'as fast')}."
        )
    if gemm.counts is not None:
        sentences += _count_sentences(gemm.name, gemm.counts)
    return sentences


def _count_sentences(name: str, counts: ProductCounts) -> list[str]:
    total = counts.routed + sum(counts.passed.values())
    text = (
        f"{counts.routed} of {total} matrix products of a generation of {counts.new_tokens} "
        f"tokens went through {name}"
    )
    if counts.passed:
        text += f"; left to PyTorch: {listed(counts.passed)}"
    sentences = [f"{text}. Fused attention calls none of them."]
    if counts.copied:
        sentences.append(f"Copied into rows first: {listed(counts.copied)}.")
    return sentences


def listed(counts: dict[str, int]) -> str:
    """Counts by what they are of, the most frequent first: "12 × bf16, 1 × empty"."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} × {what}" for what, count in ordered)
