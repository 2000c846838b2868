"""`topout train`: how a training step spends its time, alone and over ranks."""

import time
from collections.abc import Sequence

import msgspec

from topout.launch.local import RankFailure
from topout.measure.checks import load_doubts
from topout.progress import Notify
from topout.records import TrainCase, TrainReport
from topout.run_folder import RunFolder
from topout.train.data import save_samples
from topout.train.findings import case_doubts, train_findings
from topout.train.plan import DEFAULT_BUILDER, Plan, RankDone
from topout.train.request import TrainRequest
from topout.train.results import finished_case, unfinished_case, with_speedups
from topout.train.run_case import lines_of, refusal_of, run_case
from topout.verbs.train_placement import placed, sample_flops
from topout.verbs.train_subject import TrainSubject, empty_report, resolve_subject
from topout.verbs.train_traces import with_traces

TRACES = "traces"


class TrainInterrupted(KeyboardInterrupt):
    """Ctrl-C during training: every rank has ended, and what was finished is in `report`."""

    def __init__(self, report: TrainReport, folder: RunFolder) -> None:
        self.report = report
        self.folder = folder
        super().__init__()


def train_model(
    request: TrainRequest, *, notify: Notify | None = None, builder: str = DEFAULT_BUILDER
) -> tuple[TrainReport, RunFolder]:
    """Train with each number of ranks; returns the record and the folder that it was written to.

    A rank that dies ends its case, whose status is then "failed" with the reason, and no further
    case starts; the record has what was finished. `builder` names a function "module:function"
    that makes another network from a `Plan`. Raises a TopoutError for bad input before anything
    runs, TrainInterrupted on Ctrl-C, OutputError when the result cannot be written.
    """
    notify = notify or (lambda what, done: None)
    began = time.monotonic()
    notify("read the data", 0.0)
    subject = resolve_subject(request, builder)
    doubts = load_doubts()
    folder = RunFolder.create("train", subject.source.name)
    report = empty_report(subject, doubts)
    try:
        save_samples(subject.samples, folder.scratch / "samples.safetensors")
        for number, ranks in enumerate(request.ranks):
            share = _share_of(notify, number, len(request.ranks))
            try:
                case = _run_case(subject, ranks, folder, share)
            except KeyboardInterrupt:
                report = _with_case(report, _interrupted(subject, ranks, folder), began)
                folder.save(report)
                raise TrainInterrupted(report, folder) from None
            report = _with_case(report, case, began)
            folder.save(report)
            if case.status == "failed":
                report = _with_skipped(report, request.ranks[number + 1 :], ranks, began)
                folder.save(report)
                break
    finally:
        folder.clean()
        folder.discard_if_empty()
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
        traces=str((folder.path / TRACES / _case_name(ranks)).absolute()),
        steps=request.step_count,
        warmup_steps=request.warmup_count,
        profiled_steps=request.profiled_count,
        batch_size=request.batch_size,
        accumulation=request.accumulation,
        dtype=request.dtype,
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
    trace_folder = f"{TRACES}/{_case_name(ranks)}" if plan.profiled_steps else None
    case = finished_case(
        plan,
        lines,
        sequence_len=subject.sequence_len,
        flops_per_sample=sample_flops(subject, plan, end.parameters),
        trace_folder=trace_folder,
    )
    notify("read the traces", 1.0)
    case = with_traces(case, folder.path, plan.profiled_steps)
    return placed(case, subject)


def _interrupted(subject: TrainSubject, ranks: int, folder: RunFolder) -> TrainCase:
    plan = _plan(subject, ranks, folder)
    return unfinished_case(ranks, lines_of(plan, ranks), "interrupted", "It was interrupted.")


def _with_skipped(
    report: TrainReport, skipped: Sequence[int], failed: int, began: float
) -> TrainReport:
    for ranks in skipped:
        reason = f"The case with {failed} rank{'' if failed == 1 else 's'} failed before."
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
