"""The machines side by side, what their predictions stand on, and what a model keeps in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from topout import units
from topout.records import CacheSaving, CostReport, MachineCost, MachineFit, PhaseCost, PhaseName
from topout.report.cost.words import (
    PHASES,
    flops,
    intensity,
    phase_of,
    phases_of,
    placed,
    rate_interval,
    rate_name,
    rate_of,
    span,
    traffic,
)
from topout.report.document import Cell, Column, Row, Table
from topout.roofline import share_of


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
        yield row("MBU of datasheet", lambda c: Cell(share_of(c.mbu_of_spec_peak)))
        yield row("MBU of measured", lambda c: Cell(share_of(c.mbu_of_ceiling)))
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
    return share_of(ratio, 0 if ratio >= 0.095 else 1)


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


TRAINING_COLUMNS = [
    "recompute",
    "ZeRO",
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "all",
    "fits on",
]
RECOMPUTED = {"none": "nothing", "selective": "attention", "full": "all"}


def saving_table(report: CostReport) -> Table:
    """One decoded token with and without a KV cache; times on each machine that has them."""
    first = _first_saving(report)
    if first is None:
        return Table([], [])
    rows = [
        _against("FLOPs", flops, first.cached_flops, first.uncached_flops),
        _against("bytes moved", traffic, first.cached_bytes, first.uncached_bytes),
        [
            "FLOP/byte",
            intensity(_ratio(first.cached_flops, first.cached_bytes)),
            intensity(_ratio(first.uncached_flops, first.uncached_bytes)),
            "",
        ],
    ]
    for machine in placed(report):
        saving = machine.cache_saving
        if saving is not None and saving.cached_time_s is not None:
            times = saving.cached_time_s, saving.uncached_time_s
            rows.append(_against(f"time on {machine.name}", units.seconds, *times))
    return _table(["a token", "with cache", "without", "without ÷ with"], rows)


def saving_sentence(report: CostReport) -> str:
    """What the keys and values of one new token cost, over all layers."""
    saving = _first_saving(report)
    if saving is None:
        return ""
    cost, moved = saving.kv_projection_flops, saving.kv_projection_bytes
    return (
        f"At context {saving.context_len}, a new token's K and V, all layers together: "
        f"{flops(cost)}, {traffic(moved)}, intensity {intensity(_ratio(cost, moved))} FLOP/byte. "
        "Without a cache they are computed again for every earlier token."
    )


def kv_sentence(report: CostReport) -> str:
    """What the KV cache takes per token, and as asked."""
    memory, work = report.memory, report.workload
    if memory.kv_bytes_per_token is None:
        return ""
    text = f"{units.memory(memory.kv_bytes_per_token)} per token of a sequence"
    if memory.kv_cache_bytes is not None:
        text += (
            f"; as asked (context {work.context_len}, batch {work.batch_size}) "
            f"{units.memory(memory.kv_cache_bytes)}"
        )
    return f"{text}; the weights take {units.memory(memory.weight_bytes)}."


def kv_table(report: CostReport) -> Table:
    """KV cache by context (rows) and batch (columns)."""
    table = report.memory.kv_table
    batches = sorted(table, key=_number)
    contexts = sorted({context for row in table.values() for context in row}, key=_number)
    if not contexts:
        return Table([], [])
    return _table(
        ["context", *(f"batch {batch}" for batch in batches)],
        [
            [context, *(units.memory(table[batch].get(context)) for batch in batches)]
            for context in contexts
        ],
    )


def training_table(report: CostReport) -> Table:
    """Bytes of one device in a training step, by recomputation and ZeRO stage, and who has them."""
    choices = report.memory.training
    if not choices:
        return Table([], [])
    memories = _memories(report).values()
    rows = [
        [
            RECOMPUTED[choice.recompute],
            str(choice.zero_stage),
            units.memory(choice.weights_bytes),
            units.memory(choice.gradients_bytes),
            units.memory(choice.optimizer_bytes),
            units.memory(choice.activations_bytes),
            units.memory(choice.total_bytes),
            _share(sum(choice.total_bytes <= size for size in memories), len(memories)),
        ]
        for choice in choices
    ]
    return _table(TRAINING_COLUMNS, rows)


def training_sentence(report: CostReport) -> str:
    """The memories that "fits on" compares with."""
    if not report.memory.training or not _memories(report):
        return ""
    sizes = [f"{name} {units.memory(size)}" for name, size in _memories(report).items()]
    return f"Fits on: the machines whose memory holds the sum ({', '.join(sizes)})."


def _table(titles: Sequence[str], rows: list[list[str]]) -> Table:
    """The first column names the rows; on a narrow terminal the others are cut into tables."""
    columns = [Column(titles[0], text=True), *map(Column, titles[1:])]
    return Table(columns, [Row(row) for row in rows], side_by_side=True)


def _first_saving(report: CostReport) -> CacheSaving | None:
    return next((m.cache_saving for m in report.machines if m.cache_saving is not None), None)


def _against(
    label: str,
    show: Callable[[float | None], str],
    cached: float | None,
    uncached: float | None,
) -> list[str]:
    return [label, show(cached), show(uncached), units.times(_ratio(uncached, cached))]


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _number(text: str) -> tuple[int, str]:
    return (int(text) if text.isdecimal() else 0, text)


def _memories(report: CostReport) -> dict[str, int]:
    return {m.name: m.hardware.memory_bytes for m in report.machines if m.hardware is not None}


def _share(number: int, of: int) -> str:
    if of == 0:
        return units.ABSENT
    if of == 1:
        return "yes" if number else "no"
    return {0: "none", of: "all"}.get(number, f"{number} of {of}")
