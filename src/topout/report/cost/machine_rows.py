"""The machines side by side: rows of figures, a column for each machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from topout import units
from topout.records import CostReport, MachineCost, MachineFit, PhaseCost, PhaseName
from topout.report.cost.words import (
    PHASES,
    phase_of,
    phases_of,
    placed,
    rate_interval,
    rate_name,
    rate_of,
    span,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and what qualifies it: its interval, its share."""

    value: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One quantity, a figure for each machine of the report; `below` qualifies its label."""

    label: str
    figures: list[Figure]
    below: str = ""


@dataclass(frozen=True, slots=True)
class FigureGroup:
    """Rows about one phase, or about memory."""

    title: str
    rows: list[FigureRow]


_NOTHING = Figure(units.ABSENT)
_TITLES: dict[PhaseName, str] = {
    "prefill": "Prefill",
    "decode": "Decode",
    "forward": "Forward pass",
    "training": "Training step",
}


def machine_groups(report: CostReport) -> list[FigureGroup]:
    """What each machine does with each phase, and what fits into its memory.

    Rows that say nothing are left out. A figure that a machine lacks is a dash;
    `machine_reasons` says why.
    """
    if not placed(report):
        return []
    groups = [
        FigureGroup(_TITLES[phase], _kept(_phase_rows(report, phase)))
        for phase in phases_of(report)
    ]
    if any(machine.fit for machine in placed(report)):
        groups.append(FigureGroup("Memory", _kept(_fit_rows(report))))
    return groups


def machine_reasons(machine: MachineCost) -> dict[str, str]:
    """Why figures of a machine are absent: each reason once, under the fields it is given for."""
    fields: dict[str, list[str]] = {}
    for phase in PHASES:
        cost = phase_of(machine, phase)
        if cost is not None and cost.reason:
            fields.setdefault(cost.reason, []).append(phase)
    for field, reason in machine.reasons.items():
        if field not in fields.setdefault(reason, []):
            fields[reason].append(field)
    return {", ".join(names): reason for reason, names in fields.items()}


def _kept(rows: Iterator[FigureRow]) -> list[FigureRow]:
    """The first row of a group is its time, which stays also where no machine has one."""
    return [row for n, row in enumerate(rows) if n == 0 or set(row.figures) != {_NOTHING}]


def _phase_rows(report: CostReport, phase: PhaseName) -> Iterator[FigureRow]:
    label = {"decode": "time per token", "training": "time of a step"}.get(phase, "time")

    def row(name: str, figure: Callable[[PhaseCost], Figure]) -> FigureRow:
        costs = [phase_of(machine, phase) for machine in placed(report)]
        return FigureRow(name, [figure(cost) if cost else _NOTHING for cost in costs])

    yield row(label, _time)
    yield FigureRow(
        rate_name(report, phase),
        [_rate(report, machine, phase) for machine in placed(report)],
    )
    yield row("bound by", _bound)
    if phase == "decode":
        yield row("MBU of datasheet", lambda c: Figure(units.percent(c.mbu_of_spec_peak)))
        yield row("MBU of measured", lambda c: Figure(units.percent(c.mbu_of_ceiling)))
    yield row("MFU of datasheet", lambda c: Figure(_utilization(c.mfu_of_spec_peak)))
    yield row("MFU of measured", lambda c: Figure(_utilization(c.mfu_of_ceiling)))


def _time(cost: PhaseCost) -> Figure:
    return Figure(units.seconds(cost.time_s), span(cost.interval_s, units.seconds))


def _rate(report: CostReport, machine: MachineCost, phase: PhaseName) -> Figure:
    rate = rate_of(report, machine, phase)
    if rate is None:
        return _NOTHING
    # Those of prefill and training follow from their times, which stand above.
    shown = phase in ("decode", "forward")
    interval = rate_interval(report, machine, phase) if shown else None
    return Figure(units.significant(rate), span(interval, units.significant))


def _bound(cost: PhaseCost) -> Figure:
    if cost.bound is None:
        return _NOTHING
    parts = {
        "memory": cost.memory_s,
        "compute": cost.compute_s,
        "overhead": cost.overhead_s,
        "communication": cost.communication_s,
    }
    part = parts[cost.bound]
    share = f"{units.percent(part / cost.time_s)} of time" if part and cost.time_s else ""
    return Figure(cost.bound, share)


def _utilization(ratio: float | None) -> str:
    """A percentage; decode has so small ones that whole numbers would say 0 %."""
    if ratio is None:
        return units.ABSENT
    return units.percent(ratio, 0 if ratio >= 0.095 else 1)


def _fit_rows(report: CostReport) -> Iterator[FigureRow]:
    work = report.workload

    def row(name: str, figure: Callable[[MachineFit], str], below: str = "") -> FigureRow:
        fits = [machine.fit for machine in placed(report)]
        return FigureRow(name, [Figure(figure(fit)) if fit else _NOTHING for fit in fits], below)

    split = work.tensor_parallel * work.pipeline_parallel > 1
    yield row("of one device", lambda fit: units.memory(fit.memory_bytes))
    yield row("weights on each" if split else "weights", lambda fit: units.memory(fit.weight_bytes))
    yield row("fits as asked", lambda fit: _yes(fit.fits))
    cached = report.memory.kv_cache_bytes is not None
    length = f"at context {work.context_len}" if cached else f"of {work.prompt_len} tokens"
    length = "" if report.model.kind == "image" else length
    yield row("largest batch", lambda fit: _largest(fit.largest_batch), length)
    if cached:
        batch = f"at batch {work.batch_size}"
        yield row("largest context", lambda fit: _largest(fit.largest_context), batch)
    yield row("training fits", lambda fit: _yes(fit.training_fits))
    yield row("devices needed", lambda fit: _largest(fit.devices_needed))


def _yes(answer: bool | None) -> str:
    return units.ABSENT if answer is None else ("yes" if answer else "no")


def _largest(size: int | None) -> str:
    """The record says None where not even one fits, or no number of devices was found."""
    return "none" if size is None else str(size)
