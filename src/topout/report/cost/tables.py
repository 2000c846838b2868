"""What each machine does and holds, side by side or alone, and what predictions stand on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from topout import units
from topout.records import CostReport, MachineCost, MachineFit, PhaseCost, PhaseName
from topout.report.cost.words import (
    PHASES,
    intensity,
    phase_of,
    phases_of,
    placed,
    rate_interval,
    rate_name,
    rate_of,
    span,
)
from topout.report.document import Cell, Column, Facts, Row, Table
from topout.roofline import share_of


@dataclass(frozen=True, slots=True)
class _Line:
    """One quantity, a figure for each machine of the report; `below` qualifies its label."""

    label: str
    figures: list[Cell]
    below: str = ""


_ANY = 1 << 30  # beyond this nothing was searched: what is kept does not grow
_NOTHING = Cell(units.ABSENT)
_WITH_COUNTS = 110  # characters from which on there is room for FLOPs and bytes
_TITLES: dict[PhaseName, str] = {
    "prefill": "Prefill",
    "decode": "Decode",
    "forward": "Forward pass",
    "training": "Training step",
}


def machines_table(report: CostReport) -> Table:
    """What each of several machines does with each phase, and what fits into its memory.

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


def phases_table(report: CostReport) -> Table:
    """The phases on the one machine that there is, or what they need where there is none."""
    if not report.machines:
        return Table([], [])
    machine = report.machines[0]
    timed = machine.hardware is not None
    columns = [Column("", text=True)]
    if timed:
        columns += [
            Column("time"),
            Column("per second"),
            Column("bound by", text=True, least=12),
            Column("of\ndatasheet", least=9),
            Column("of\nmeasured", least=9),
        ]
    wide = _WITH_COUNTS if timed else 0
    columns += [Column(title, from_width=wide) for title in ("FLOP", "bytes", "FLOP/byte")]
    rows = [
        Row([_TITLES[phase], *(_timed(report, machine, cost) if timed else []), *_counts(cost)])
        for phase in phases_of(report)
        if (cost := phase_of(machine, phase)) is not None
    ]
    return Table(columns, rows)


def _timed(report: CostReport, machine: MachineCost, cost: PhaseCost) -> list[Cell]:
    rate = _rate(report, machine, cost.phase)
    unit = rate_name(report, cost.phase).removesuffix("/s")
    named = rate if rate is _NOTHING else replace(rate, value=f"{rate.value} {unit}")
    return [
        _time(cost),
        named,
        _bound(cost),
        _both(cost.mfu_of_spec_peak, cost.mbu_of_spec_peak, cost.phase),
        _both(cost.mfu_of_ceiling, cost.mbu_of_ceiling, cost.phase),
    ]


def _both(mfu: float | None, mbu: float | None, phase: PhaseName) -> Cell:
    """The shares of arithmetic and, in decode, of bandwidth, which is what it waits for."""
    shown = [f"MBU {share_of(mbu)}"] if phase == "decode" and mbu is not None else []
    shown += [f"MFU {_utilization(mfu)}"] if mfu is not None else []
    return Cell(shown[0], "\n".join(shown[1:])) if shown else _NOTHING


def _counts(cost: PhaseCost) -> list[str]:
    return [
        units.si(cost.flops, ""),
        units.si(cost.bytes, ""),
        intensity(cost.arithmetic_intensity),
    ]


def fit_facts(report: CostReport) -> Facts:
    """What fits into the one machine's memory: inference and, apart from it, fine-tuning."""
    fit = report.machines[0].fit if report.machines else None
    if fit is None:
        return Facts([])
    work = report.workload
    inference = (
        f"{_fits(fit.fits)} ({units.memory(fit.weight_bytes)} of weights, "
        f"{units.memory(fit.memory_bytes)} on a device)"
    )
    largest = [f"batch {_largest(fit.largest_batch)}{_beside(report)}"]
    if report.memory.kv_cache_bytes is not None:
        largest.append(f"context {_largest(fit.largest_context)} at batch {work.batch_size}")
    facts = [("Inference", inference), ("Largest", ", ".join(largest))]
    if not fit.fits:
        facts.append(("Devices for inference", _largest(fit.devices_needed)))
    if fit.training_fits is not None:
        needs = f"needs {units.memory(fit.training_bytes)}; " if fit.training_bytes else ""
        facts.append(("Fine-tuning", f"{needs}{_fits(fit.training_fits)}"))
    return Facts(facts, "Memory")


def _beside(report: CostReport) -> str:
    """The other size, with which the largest batch was found."""
    work = report.workload
    if report.model.kind in ("image", "module"):
        return ""
    if report.memory.kv_cache_bytes is not None:
        return f" at context {work.context_len}"
    return f" of {work.prompt_len} tokens"


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
        yield row("MBU of datasheet", lambda c: Cell(share_of(c.mbu_of_spec_peak)))
        yield row("MBU of measured", lambda c: Cell(share_of(c.mbu_of_ceiling)))
    yield row("MFU of datasheet", lambda c: Cell(_utilization(c.mfu_of_spec_peak)))
    yield row("MFU of measured", lambda c: Cell(_utilization(c.mfu_of_ceiling)))
    costs = [phase_of(machine, phase) for machine in placed(report)]
    if any(cost and cost.bubble_s for cost in costs):
        yield row("pipeline bubble", lambda c: _part(c.bubble_s, c))
    if any(cost and cost.hidden_s for cost in costs):
        yield row("hidden communication", lambda c: Cell(units.seconds(c.hidden_s)))


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
        "bubble": cost.bubble_s,
    }
    return Cell(cost.bound, _part(parts[cost.bound], cost).below, cost.bound)


def _part(part_s: float | None, cost: PhaseCost) -> Cell:
    """Seconds of a phase, and which share of its time they are."""
    share = f"{units.percent(part_s / cost.time_s)} of time" if part_s and cost.time_s else ""
    return Cell(units.seconds(part_s), share)


def _utilization(ratio: float | None) -> str:
    """A percentage; decode has so small ones that whole numbers would say 0 %."""
    if ratio is None:
        return units.ABSENT
    return share_of(ratio, 0 if ratio >= 0.095 else 1)


def _fit_rows(report: CostReport) -> Iterator[_Line]:
    work = report.workload

    def row(name: str, figure: Callable[[MachineFit], str], below: str = "") -> _Line:
        fits = [machine.fit for machine in placed(report)]
        return _Line(name, [Cell(figure(fit)) if fit else _NOTHING for fit in fits], below)

    split = work.tensor_parallel * work.pipeline_parallel > 1
    yield row("of one device", lambda fit: units.memory(fit.memory_bytes))
    yield row("weights on each" if split else "weights", lambda fit: units.memory(fit.weight_bytes))
    yield row("inference as asked", lambda fit: _fits(fit.fits))
    cached = report.memory.kv_cache_bytes is not None
    yield row("largest batch", lambda fit: _largest(fit.largest_batch), _beside(report).strip())
    if cached:
        batch = f"at batch {work.batch_size}"
        yield row("largest context", lambda fit: _largest(fit.largest_context), batch)
    yield row("devices for inference", lambda fit: _largest(fit.devices_needed))
    yield _Line(
        "fine-tuning needs",
        [_fine_tuning(machine.fit) for machine in placed(report)],
    )


def _fits(answer: bool | None) -> str:
    return units.ABSENT if answer is None else ("fits" if answer else "does not fit")


def _fine_tuning(fit: MachineFit | None) -> Cell:
    """Bytes of one device in a training step of all weights, and whether it has them."""
    if fit is None or fit.training_fits is None:
        return _NOTHING
    needed = units.memory(fit.training_bytes) if fit.training_bytes is not None else ""
    return Cell(needed or _fits(fit.training_fits), _fits(fit.training_fits) if needed else "")


def _largest(size: int | None) -> str:
    """The record says None where not even one fits, or no number of devices was found."""
    if size is None:
        return "none"
    return "any" if size >= _ANY else str(size)


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
