"""The machines side by side, a column for each, and what their predictions stand on."""

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
from topout.report.document import Cell, Column, Row, Table


@dataclass(frozen=True, slots=True)
class _Line:
    """One quantity, a figure for each machine of the report; `below` qualifies its label."""

    label: str
    figures: list[Cell]
    below: str = ""


_NOTHING = Cell(units.ABSENT)
_TITLES: dict[PhaseName, str] = {
    "prefill": "Prefill",
    "decode": "Decode",
    "forward": "Forward pass",
    "training": "Training step",
}


def machines_table(report: CostReport) -> Table:
    """What each machine does with each phase, and what fits into its memory.

    Rows that say nothing are left out. A figure that a machine lacks is a dash;
    `machine_reasons` says why.
    """
    machines = placed(report)
    rows: list[Row] = []
    for phase in phases_of(report) if machines else []:
        rows += _group(_TITLES[phase], _phase_rows(report, phase))
    if any(machine.fit for machine in machines):
        rows += _group("Memory", _fit_rows(report))
    columns = [Column("", text=True), *(Column(machine.name) for machine in machines)]
    return Table(columns, rows, side_by_side=True)


def _group(title: str, lines: Iterator[_Line]) -> list[Row]:
    """The first line of a group is its time, which stays also where no machine has one."""
    kept = [line for n, line in enumerate(lines) if n == 0 or set(line.figures) != {_NOTHING}]
    rows = [
        Row([Cell(f"  {line.label}", f"  {line.below}".rstrip()), *line.figures]) for line in kept
    ]
    return [Row([title], kind="heading"), *rows]


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


def _phase_rows(report: CostReport, phase: PhaseName) -> Iterator[_Line]:
    label = {"decode": "time per token", "training": "time of a step"}.get(phase, "time")

    def row(name: str, figure: Callable[[PhaseCost], Cell]) -> _Line:
        costs = [phase_of(machine, phase) for machine in placed(report)]
        return _Line(name, [figure(cost) if cost else _NOTHING for cost in costs])

    yield row(label, _time)
    yield _Line(
        rate_name(report, phase),
        [_rate(report, machine, phase) for machine in placed(report)],
    )
    yield row("bound by", _bound)
    if phase == "decode":
        yield row("MBU of datasheet", lambda c: Cell(units.percent(c.mbu_of_spec_peak)))
        yield row("MBU of measured", lambda c: Cell(units.percent(c.mbu_of_ceiling)))
    yield row("MFU of datasheet", lambda c: Cell(_utilization(c.mfu_of_spec_peak)))
    yield row("MFU of measured", lambda c: Cell(_utilization(c.mfu_of_ceiling)))


def _time(cost: PhaseCost) -> Cell:
    return Cell(units.seconds(cost.time_s), span(cost.interval_s, units.seconds))


def _rate(report: CostReport, machine: MachineCost, phase: PhaseName) -> Cell:
    rate = rate_of(report, machine, phase)
    if rate is None:
        return _NOTHING
    # Those of prefill and training follow from their times, which stand above.
    shown = phase in ("decode", "forward")
    interval = rate_interval(report, machine, phase) if shown else None
    return Cell(units.significant(rate), span(interval, units.significant))


def _bound(cost: PhaseCost) -> Cell:
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
    return Cell(cost.bound, share, cost.bound)


def _utilization(ratio: float | None) -> str:
    """A percentage; decode has so small ones that whole numbers would say 0 %."""
    if ratio is None:
        return units.ABSENT
    return units.percent(ratio, 0 if ratio >= 0.095 else 1)


def _fit_rows(report: CostReport) -> Iterator[_Line]:
    work = report.workload

    def row(name: str, figure: Callable[[MachineFit], str], below: str = "") -> _Line:
        fits = [machine.fit for machine in placed(report)]
        return _Line(name, [Cell(figure(fit)) if fit else _NOTHING for fit in fits], below)

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


def assumptions(report: CostReport) -> list[str]:
    """Each assumption once, with the machines that it was made for where not all made it."""
    made: dict[str, list[str]] = {}
    for machine in report.machines:
        for assumption in machine.assumptions:
            made.setdefault(assumption, []).append(machine.name)
    sentences = []
    for sentence, names in made.items():
        named = len(names) == len(report.machines) or sentence.startswith(f"{names[0]}:")
        sentences.append(sentence if named else f"{', '.join(names)}: {sentence}")
    return sentences


def reasons(report: CostReport) -> list[str]:
    """What is absent and why: "h200, decode: its file states no bandwidth"."""
    here = {machine.name for machine in placed(report)}
    return [
        f"{machine.name}, {fields}: {reason}" if machine.name in here else f"{fields}: {reason}"
        for machine in report.machines
        for fields, reason in machine_reasons(machine).items()
    ]
