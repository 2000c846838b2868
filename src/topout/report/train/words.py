"""What a training run was of and what it says, in sentences."""

from topout import units
from topout.records import TrainCase, TrainReport
from topout.report.intervals import interval

PARTS = ("data", "forward", "backward", "communication", "optimizer", "other")
_TASKS = {"classify": "a text classifier", "lm": "a language model"}


def ranks_name(ranks: int) -> str:
    """ "1 rank", "2 ranks"."""
    return f"{ranks} rank{'' if ranks == 1 else 's'}"


def subject_sentence(report: TrainReport) -> str:
    """The model and how it was trained."""
    model, work = report.model, report.workload
    parameters = f"{units.count(model.parameters)} parameters, " if model.parameters else ""
    accumulated = f" × {work.accumulation} accumulated" if work.accumulation > 1 else ""
    threads = f"{work.threads_per_rank} thread{'' if work.threads_per_rank == 1 else 's'} a rank"
    return (
        f"{parameters}{model.weights} weights, as {_TASKS[work.task]}, {work.dtype}, "
        f"{work.optimizer}, on {work.device} with {threads}; batch {work.batch_size}{accumulated} "
        f"of {work.sequence_len} tokens on each rank, {work.steps} steps"
    )


def headlines(report: TrainReport) -> list[str]:
    """The result in one to three sentences, the most important first."""
    done = [case for case in report.cases if case.status == "done"]
    sentences = [_rate(report, case) for case in done[-1:]]
    sentences += [_speedup(case) for case in done if case.speedup is not None]
    sentences += [
        f"{ranks_name(case.ranks)}: {case.status}. {case.reason}"
        for case in report.cases
        if case.status != "done"
    ]
    return sentences or ["Nothing was measured."]


def learning(case: TrainCase) -> str:
    """The loss at the first and the last step: "1.39 → 0.412"."""
    if not case.loss:
        return units.ABSENT
    return f"{units.significant(case.loss[0])} → {units.significant(case.loss[-1])}"


def _rate(report: TrainReport, case: TrainCase) -> str:
    step = units.seconds(case.step_s.median if case.step_s else None)
    samples = units.significant(case.samples_per_s.median) if case.samples_per_s else units.ABSENT
    return (
        f"{report.model.name} trains on {ranks_name(case.ranks)} at {samples} samples/s, "
        f"{step} a step."
    )


def _speedup(case: TrainCase) -> str:
    return (
        f"{ranks_name(case.ranks)} are "
        f"{units.times(case.speedup.median if case.speedup else None)} as fast as one "
        f"{interval(case.speedup)}, an efficiency of {units.percent(case.parallel_efficiency)}."
    )
