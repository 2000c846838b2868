"""The cases of a training run, their ranks and collectives as rows of text."""

from dataclasses import dataclass

from topout import units
from topout.records import CollectiveTime, Estimate, RankTime, TrainCase, TrainReport
from topout.report.intervals import interval, spread
from topout.report.train.words import learning, ranks_name

COLLECTIVE_COLUMNS = ("Collective", "Calls", "Bytes", "Sent", "Time", "Transfer", "Waiting")


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case with its figures; what was not measured is an en dash."""

    name: str
    status: str  # "" where it is done
    step: str
    step_spread: str
    samples: str  # a second
    tokens: str  # a second
    flops: str
    mfu: str
    speedup: str
    speedup_interval: str
    efficiency: str
    memory: str
    loss: str


def case_rows(report: TrainReport) -> list[CaseRow]:
    """The cases in the order in which they ran."""
    return [_case_row(case) for case in report.cases]


def _case_row(case: TrainCase) -> CaseRow:
    return CaseRow(
        name=ranks_name(case.ranks),
        status="" if case.status == "done" else f"{case.status}: {case.reason}",
        step=units.seconds(case.step_s.median if case.step_s else None),
        step_spread=spread(case.step_s),
        samples=_figure(case.samples_per_s),
        tokens=_figure(case.tokens_per_s),
        flops=units.flops_per_s(case.flops_per_s),
        mfu=units.percent(case.mfu_of_ceiling),
        speedup=units.times(case.speedup.median if case.speedup else None),
        speedup_interval=interval(case.speedup),
        efficiency=units.percent(case.parallel_efficiency),
        memory=units.memory(case.peak_memory_bytes),
        loss=learning(case),
    )


@dataclass(frozen=True, slots=True)
class RankRow:
    """The mean step of a rank by its parts."""

    name: str
    step: str
    data: str
    forward: str
    backward: str
    communication: str  # of backward, what the sum over the ranks adds
    optimizer: str
    other: str
    utilization: str
    memory: str
    device_memory: str


def rank_rows(report: TrainReport) -> list[RankRow]:
    """Every rank of every case that is done."""
    return [_rank_row(case, time) for case in report.cases for time in case.times]


def rank_name(case: TrainCase, time: RankTime) -> str:
    """ "1 rank", "2 ranks, rank 0": unique within a report."""
    name = ranks_name(case.ranks)
    return name if case.ranks == 1 else f"{name}, rank {time.rank}"


def _rank_row(case: TrainCase, time: RankTime) -> RankRow:
    return RankRow(
        name=rank_name(case, time),
        step=units.seconds(time.step_s),
        data=units.seconds(time.data_s),
        forward=units.seconds(time.forward_s),
        backward=units.seconds(time.backward_s),
        communication=units.seconds(time.exposed_communication_s),
        optimizer=units.seconds(time.optimizer_s),
        other=units.seconds(time.other_s),
        utilization=units.percent(time.device_utilization or time.processor_utilization),
        memory=units.memory(time.peak_memory_bytes),
        device_memory=units.memory(time.peak_device_bytes),
    )


def collective_rows(case: TrainCase) -> list[tuple[str, ...]]:
    """The collectives of the profiled steps, as the traces hold them."""
    if case.communication is None:
        return []
    return [_collective(each) for each in case.communication.collectives]


def _collective(each: CollectiveTime) -> tuple[str, ...]:
    return (
        each.name,
        str(each.calls),
        units.si(each.bytes, "B"),
        units.si(each.sent_bytes, "B"),
        units.seconds(each.total_s),
        units.seconds(each.transfer_s),
        units.seconds(each.waiting_s),
    )


def case_facts(case: TrainCase) -> list[tuple[str, str]]:
    """What else is known of a case, in pairs of name and value."""
    agree = {True: "yes, bit by bit", False: "no", None: units.ABSENT}[case.weights_agree]
    return [
        ("Timed steps together", units.seconds(case.wall_s)),
        ("A batch", units.seconds(case.time_per_batch_s.median if case.time_per_batch_s else None)),
        ("FLOPs of a sample", units.si(case.flops_per_sample, "FLOP")),
        ("Share of the arithmetic ceiling", units.percent(case.mfu_of_ceiling, 1)),
        ("Loss", learning(case)),
        ("Backend", case.backend or "none"),
        ("Ranks ended with the same weights", agree),
        ("Gradients of a step", units.si(case.gradient_bytes, "B")),
        ("Of these in the traces", units.si(case.collective_bytes_per_step, "B")),
        ("Peak memory, all ranks", units.memory(case.peak_memory_bytes)),
    ]


def _figure(figure: Estimate | None) -> str:
    return units.ABSENT if figure is None else units.significant(figure.median)
