"""A machine's ops as tables, grouped by phase in the order in which they run."""

from topout import units
from topout.records import CostReport, MachineCost, OpCost, PhaseCost, PhaseName
from topout.report.cost.words import PHASES, flops, phase_of, phase_title
from topout.report.document import Cell, Column, Paragraph, Row, Section, Table
from topout.report.figures import figure

_SHAPES = 104  # characters from which on there is room for a column of shapes
_TERMS = 132  # from here on for the terms of the time
_MOST = 36  # ops of a phase on a terminal; a convolutional network has hundreds
_SHORT = {"communication": "network"}
_COLUMNS = [
    Column("op × runs, shape", text=True, below_width=_SHAPES, least=22),
    Column("op", text=True, from_width=_SHAPES, least=12),
    Column("runs", from_width=_SHAPES),
    Column("shape", text=True, from_width=_SHAPES),
    *map(Column, ("FLOP", "bytes", "FLOP/B")),
    Column("bound", text=True, below_width=_SHAPES, least=8),
    Column("bound", text=True, from_width=_SHAPES, least=13),
    *(Column(name, from_width=_TERMS) for name in ("compute", "memory", "overhead")),
    Column("time"),
    Column("share"),
]


def op_sections(report: CostReport) -> list[Section]:
    """The ops of every machine; a terminal shows those of the first alone, the longest of many."""
    sections = []
    for number, machine in enumerate(report.machines):
        named = machine.hardware is not None
        phases = [phase for phase in PHASES if phase_of(machine, phase)]
        if number == 0:
            on = f", on {machine.name}" if named else ""
            parts = [_phase(report, machine, phase, on, _MOST) for phase in phases]
            sections.append(Section("", parts, key="ops-of-the-first", only="terminal"))
        groups = [_phase(report, machine, phase) for phase in phases if _ops(machine, phase)]
        title = f"Ops on {machine.name}" if named else "Ops"
        sections.append(Section(title, groups, folded=number > 0, only="page"))
    return sections


def _ops(machine: MachineCost, phase: PhaseName) -> list[OpCost]:
    return [op for op in machine.ops if op.phase == phase]


def _phase(
    report: CostReport,
    machine: MachineCost,
    phase: PhaseName,
    on: str = "",
    most: int | None = None,
) -> Section:
    """The ops of a phase and their sum; of more than `most` the longest, the others in one row."""
    cost, ops = phase_of(machine, phase), _ops(machine, phase)
    assert cost is not None
    # Of equal times, and where there are none, the work decides.
    ranked = sorted(ops, key=lambda op: (op.time_s or 0.0, op.flops, op.bytes), reverse=True)
    others = ranked[most:] if most is not None else []
    left_out = {id(op) for op in others}
    rows = [
        *(_op(op) for op in ops if id(op) not in left_out),
        *([_rest(others)] if others else []),
        *([_total(cost)] if ops else []),
    ]
    title = f"{phase_title(report, phase)}{on}"
    return Section(title, [Table(_COLUMNS, rows), Paragraph(_note(cost), "note")])


def _op(op: OpCost) -> Row:
    name = op.name if op.count == 1 else f"{op.name} × {op.count}"
    times = (op.compute_s, op.memory_s, op.overhead_s)
    return Row(
        [
            Cell(name, op.shape),
            op.name,
            str(op.count),
            op.shape,
            *_work(op.flops, op.bytes, op.arithmetic_intensity),
            *_bound(op),
            *(Cell(units.seconds(time_s), style="soft") for time_s in times),
            units.seconds(op.time_s),
            units.percent(op.share, 1),
        ]
    )


def _rest(ops: list[OpCost]) -> Row:
    """The sum of ops that have no row of their own."""
    name, timed = f"{len(ops)} others", all(op.time_s is not None for op in ops)
    worked, moved = sum(op.flops for op in ops), sum(op.bytes for op in ops)
    time_s = sum(op.time_s or 0.0 for op in ops) if timed else None
    share = units.percent(sum(op.share or 0.0 for op in ops) if timed else None, 1)
    work = _work(worked, moved, worked / moved if moved else None)
    return Row([name, name, "", "", *work, *[""] * 5, units.seconds(time_s), share])


def _total(cost: PhaseCost) -> Row:
    share = units.ABSENT if cost.time_s is None else "100 %"
    work = _work(cost.flops + cost.other_flops, cost.bytes, cost.arithmetic_intensity)
    names, terms = ("all", "all", "", ""), ("", "", "")
    time = units.seconds(cost.time_s)
    return Row([*names, *work, *_bound(cost), *terms, time, share], kind="total")


def _work(worked: float, moved: float, intensity: float | None) -> tuple[str, str, str]:
    """Without their units, which the heads of the columns give."""
    return units.count(worked), units.count(moved), figure(intensity)


def _bound(cost: OpCost | PhaseCost) -> tuple[Cell, Cell]:
    """What bounds it, as short as a narrow terminal needs it, and in full."""
    if cost.bound is None:
        return Cell(units.ABSENT), Cell(units.ABSENT)
    return Cell(_SHORT.get(cost.bound, cost.bound), style=cost.bound), Cell(
        cost.bound, style=cost.bound
    )


def _note(cost: PhaseCost) -> str:
    """What the sum is made of: kinds of FLOPs, and of seconds."""
    note = (
        f"{flops(cost.flops)} in products, attention and convolutions, "
        f"{flops(cost.other_flops)} in norms, activations and sums"
    )
    parts = [
        ("memory", cost.memory_s),
        ("compute", cost.compute_s),
        ("overhead", cost.overhead_s),
        ("communication", cost.communication_s),
        ("bubble", cost.bubble_s),
    ]
    waits = [
        f"{units.seconds(time_s)} {name}" for name, time_s in parts if _counts(time_s, cost.time_s)
    ]
    if cost.time_s is not None and waits:
        note += f"; {units.seconds(cost.time_s)} = {' + '.join(waits)}"
    return note + "."


def _counts(part_s: float | None, whole_s: float | None) -> bool:
    """Whether a part is seen in a sum of three digits."""
    return bool(part_s and whole_s and part_s >= 0.0005 * whole_s)
