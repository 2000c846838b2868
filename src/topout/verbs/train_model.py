"""`topout train`: how a training step spends its time, alone and over ranks."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from topout.cost.training import TrainingStep
from topout.errors import TopoutError, UnsupportedError
from topout.launch.local import RankFailure
from topout.machine.ceilings import cached_ceilings
from topout.machine.kept import kept_doubts
from topout.measure.stats import load_doubts
from topout.models.decoder_dropout import DecoderDropout
from topout.models.encoder_config import EncoderConfig
from topout.progress import Notify, silent
from topout.records import Communication, TrainCase, TrainReport
from topout.roofline import compute_at
from topout.run_folder import Interrupted, RunFolder
from topout.train.data import save_samples
from topout.train.findings import case_doubts, train_findings
from topout.train.plan import DEFAULT_BUILDER, Plan, RankDone, TrainRequest
from topout.train.results import (
    finished_case,
    flops_per_sample,
    step_memory,
    unfinished_case,
    with_speedups,
)
from topout.train.run_case import lines_of, refusal_of, run_case
from topout.units import counted
from topout.verbs.train_subject import TrainSubject, empty_report, resolve_subject

_TRACES = "traces"  # folder of them in the run's
_GRADIENTS = "all_reduce"
_ALONE = "one rank communicates with no other"


def train_model(
    request: TrainRequest, *, notify: Notify = silent, builder: str = DEFAULT_BUILDER
) -> tuple[TrainReport, RunFolder]:
    """Train with each number of ranks; returns the record and the folder that it was written to.

    A rank that dies ends its case, whose status is then "failed" with the reason, and no further
    case starts; the record has what was finished. `builder` names a function "module:function"
    that makes another network from a `Plan`. Raises a TopoutError for bad input before anything
    runs, Interrupted on Ctrl-C, OutputError when the result cannot be written.
    """
    began = time.monotonic()
    notify("read the data", 0.0)
    subject = resolve_subject(request, builder)
    ceilings = cached_ceilings(subject.machine, request.device)
    doubts = load_doubts()
    doubts += kept_doubts(ceilings) if ceilings is not None else []
    report = empty_report(subject, doubts)
    with RunFolder.create("train", subject.source.name) as folder:
        save_samples(subject.samples, folder.scratch / "samples.safetensors")
        for number, ranks in enumerate(request.ranks):
            share = _share_of(notify, number, len(request.ranks))
            try:
                case = _run_case(subject, ranks, folder, share)
            except KeyboardInterrupt:
                report = _with_case(report, _interrupted(subject, ranks, folder), began)
                folder.save(report)
                raise Interrupted(report, folder, "Every rank has ended.") from None
            report = _with_case(report, case, began)
            folder.save(report)
            if case.status == "failed":
                report = _with_skipped(report, request.ranks[number + 1 :], ranks, began)
                folder.save(report)
                break
    return report, folder


def _plan(subject: TrainSubject, ranks: int, folder: RunFolder) -> Plan:
    request = subject.request
    return Plan(
        model=request.model,
        random_weights=request.random_weights,
        builder=subject.builder,
        task=subject.task,
        labels=len(subject.samples.label_names),
        samples=str((folder.scratch / "samples.safetensors").absolute()),
        output=str((folder.scratch / _case_name(ranks)).absolute()),
        traces=str((folder.path / _TRACES / _case_name(ranks)).absolute()),
        steps=request.step_count,
        warmup_steps=request.warmup_count,
        profiled_steps=request.profiled_count,
        batch_size=request.batch_size,
        accumulation=request.accumulation,
        dtype=subject.dtype,
        learning_rate=request.learning_rate,
        weight_decay=request.weight_decay,
        seed=request.seed,
        threads=subject.threads,
        device=request.device,
    )


def _case_name(ranks: int) -> str:
    return "1-rank" if ranks == 1 else f"{ranks}-ranks"


def _run_case(subject: TrainSubject, ranks: int, folder: RunFolder, notify: Notify) -> TrainCase:
    plan = _plan(subject, ranks, folder)
    try:
        lines = run_case(plan, ranks, folder.logs / _case_name(ranks), notify)
    except RankFailure as failure:
        reason = refusal_of(plan, ranks) or f"{failure.reason}."
        log = str(failure.log.relative_to(folder.path))
        return unfinished_case(ranks, lines_of(plan, ranks), "failed", reason, log)
    end = next(line for line in lines[0] if isinstance(line, RankDone))
    trace_folder = f"{_TRACES}/{_case_name(ranks)}" if plan.profiled_steps else None
    case = finished_case(
        plan,
        lines,
        sequence_len=subject.sequence_len,
        flops_per_sample=_sample_flops(subject, plan, end.parameters),
        trace_folder=trace_folder,
    )
    notify("read the traces", 1.0)
    case = _with_traces(case, folder.path, plan.profiled_steps)
    return _placed(_with_memory(case, subject, plan), subject)


def _interrupted(subject: TrainSubject, ranks: int, folder: RunFolder) -> TrainCase:
    plan = _plan(subject, ranks, folder)
    return unfinished_case(ranks, lines_of(plan, ranks), "interrupted", "It was interrupted.")


def _with_skipped(
    report: TrainReport, skipped: Sequence[int], failed: int, began: float
) -> TrainReport:
    for ranks in skipped:
        reason = f"The case with {counted(failed, 'rank')} failed before."
        report = _with_case(report, unfinished_case(ranks, [], "skipped", reason), began)
    return report


def _with_case(report: TrainReport, case: TrainCase, began: float) -> TrainReport:
    cases = with_speedups([*report.cases, case])
    model = report.model
    if case.status == "done" and model.parameters is None:
        model = msgspec.structs.replace(model, parameters=case.parameters)
    # Doubts about cases follow those about machine and request, and are derived anew.
    standing = [each for each in report.doubts if each not in case_doubts(report.cases)]
    report = msgspec.structs.replace(
        report,
        cases=cases,
        model=model,
        doubts=[*standing, *case_doubts(cases)],
        elapsed_s=time.monotonic() - began,
    )
    return msgspec.structs.replace(report, findings=train_findings(report))


def _share_of(notify: Notify, number: int, count: int) -> Notify:
    return lambda what, done: notify(what, (number + done) / count)


def _sample_flops(subject: TrainSubject, plan: Plan, parameters: int) -> float | None:
    """FLOPs of a sample; None for another network than the model's, or a family not counted."""
    if plan.builder != DEFAULT_BUILDER:
        return None
    try:
        return flops_per_sample(
            subject.source.config_json,
            subject.source.name,
            task=subject.task,
            labels=plan.labels,
            sequence_len=subject.sequence_len,
            samples=plan.batch_size * plan.accumulation,
            parameters=parameters,
        )
    except UnsupportedError:
        return None


def _with_memory(case: TrainCase, subject: TrainSubject, plan: Plan) -> TrainCase:
    """With the memory that the cost model gives a rank, or why it gives none."""
    source, reason = subject.source, None
    if plan.builder != DEFAULT_BUILDER:
        reason = "the cost model does not know this network"
    elif subject.dtype != "fp32":
        reason = "autocast keeps copies of weights that the cost model does not know"
    if reason is None:
        on_cpu = subject.request.device == "cpu"
        if isinstance(source.config, EncoderConfig):
            rates = msgspec.structs.astuple(source.config.dropout)
            attention = source.config.dropout.attention
        else:
            rates = DecoderDropout.from_hugging_face(source.config_json, source.name)
            attention = rates.attention
        step = TrainingStep(
            batch_size=plan.batch_size,
            sequence_len=subject.sequence_len,
            dtype="fp32",
            implementation="eager",
            # PyTorch's fused attention on CPUs knows no dropout.
            fused_attention=not (on_cpu and attention),
            dropout=any(rates),
            device="cpu" if on_cpu else "gpu",
        )
        try:
            memory = step_memory(
                source.config_json,
                source.name,
                task=subject.task,
                labels=plan.labels,
                step=step,
                accumulates=plan.accumulation > 1 or case.ranks > 1,
            )
            return msgspec.structs.replace(case, predicted_memory=memory)
        except UnsupportedError as error:
            reason = error.message
    return msgspec.structs.replace(case, reasons={**case.reasons, "predicted_memory": reason})


def _placed(case: TrainCase, subject: TrainSubject) -> TrainCase:
    """With the share of the arithmetic that this machine was measured to reach, if it was."""
    if case.flops_per_s is None:
        return case
    request = subject.request
    ceilings = cached_ceilings(subject.machine, request.device)
    rate = compute_at(ceilings, subject.dtype) if ceilings is not None else None
    if rate is None:
        reason = "this machine's ceilings were not measured; `topout machine` does"
        return msgspec.structs.replace(case, reasons={**case.reasons, "mfu_of_ceiling": reason})
    # CPU ranks share one machine, whose ceiling is that of all its threads; each GPU has its own.
    whole = rate * (case.ranks if request.device == "cuda" else 1)
    return msgspec.structs.replace(case, mfu_of_ceiling=case.flops_per_s / whole)


if TYPE_CHECKING:
    from topout.trace.table import Trace


def _with_traces(case: TrainCase, folder: Path, profiled_steps: int) -> TrainCase:
    """`case` with what its traces hold; a trace that cannot be read becomes a reason.

    `folder` is the run's.
    """
    if case.trace_folder is None:
        return _without(case, "no step was profiled; give --profile-steps 3")
    if case.ranks == 1 and case.times[0].peak_device_bytes is None:
        return _without(case, _ALONE)
    from topout.trace.analysis.communication import communication_of
    from topout.trace.readers.read import read_traces

    try:
        traces = read_traces([folder / case.trace_folder])
        case = _with_utilization(case, traces)
        if case.ranks == 1:
            return _without(case, _ALONE)
        communication = communication_of(traces)
    except TopoutError as error:
        return _without(case, str(error))
    return msgspec.structs.replace(
        case,
        communication=communication,
        collective_bytes_per_step=_bytes_per_step(communication, profiled_steps),
    )


def _with_utilization(case: TrainCase, traces: "Sequence[Trace]") -> TrainCase:
    """With the share of the profiled steps in which each rank's GPU did anything."""
    from topout.trace.analysis.breakdown import break_down
    from topout.trace.analysis.groups import load_rules

    rules = load_rules(None)
    busy = {
        trace.rank or 0: [
            each.utilization for each in break_down(trace, rules) if each.utilization is not None
        ]
        for trace in traces
        if trace.device_numbers
    }
    times = [
        msgspec.structs.replace(time, device_utilization=max(busy[time.rank]))
        if busy.get(time.rank)
        else time
        for time in case.times
    ]
    return msgspec.structs.replace(case, times=times)


def _bytes_per_step(communication: Communication, steps: int) -> float | None:
    """Bytes that one rank put into the sums of gradients of a step; None where none are known."""
    sizes = [each.bytes for each in communication.collectives if each.name == _GRADIENTS]
    known = [size for size in sizes if size is not None]
    return sum(known) / steps if known else None


def _without(case: TrainCase, reason: str) -> TrainCase:
    return msgspec.structs.replace(case, reasons={**case.reasons, "communication": reason})
