"""A machine's ops as tables, grouped by phase in the order in which they run."""

from dataclasses import dataclass
from typing import Literal

from topout import units
from topout.records import CostReport, MachineCost, OpCost, PhaseCost
from topout.report.cost.words import (
    PHASES,
    flops,
    intensity,
    phase_of,
    phase_title,
)
from topout.report.document import Cell, Column, Paragraph, Row, Section, Style, Table


@dataclass(frozen=True, slots=True)
class OpRow:
    """One op, or the sum of a phase: its note says what its time is the sum of.

    FLOPs and bytes stand without their units, which the heads of the columns give.
    """

    name: str
    count: str
    part: str
    shape: str
    flops: str
    bytes: str
    intensity: str
    bound: str
    time: str
    share: str
    compute: str
    memory: str
    overhead: str


@dataclass(frozen=True, slots=True)
class OpGroup:
    """The ops of one phase, their sum, and what the sum is made of."""

    title: str
    rows: list[OpRow]
    total: OpRow
    note: str


def op_groups(report: CostReport, machine: MachineCost, most: int | None = None) -> list[OpGroup]:
    """The phases that the machine has, each with its ops.

    Of a phase with more than `most` ops the longest stand alone, and the others in one row.
    """
    groups = []
    for phase in PHASES:
        cost = phase_of(machine, phase)
        ops = [op for op in machine.ops if op.phase == phase]
        if cost is not None:
            rows = [_row(op) for op in ops]
            if most is not None and len(ops) > most:
                rows = _longest(ops, most)
            groups.append(OpGroup(phase_title(report, phase), rows, _total(cost), _note(cost)))
    return groups


def _longest(ops: list[OpCost], most: int) -> list[OpRow]:
    """The longest ops in the order in which they run, and a row for the sum of the others."""
    # Of equal times, and where there are none, the work decides.
    ranked = sorted(ops, key=lambda op: (op.time_s or 0.0, op.flops, op.bytes), reverse=True)
    shown, others = ranked[:most], ranked[most:]
    kept = {id(op) for op in shown}
    moved, worked = sum(op.bytes for op in others), sum(op.flops for op in others)
    timed = all(op.time_s is not None for op in others)
    rest = OpRow(
        name=f"{len(others)} others",
        count="",
        part="",
        shape="",
        flops=units.count(worked),
        bytes=units.count(moved),
        intensity=intensity(worked / moved if moved else None),
        bound="",
        time=units.seconds(sum(op.time_s or 0.0 for op in others) if timed else None),
        share=units.percent(sum(op.share or 0.0 for op in others) if timed else None, 1),
        compute="",
        memory="",
        overhead="",
    )
    return [*(_row(op) for op in ops if id(op) in kept), rest]


def _row(op: OpCost) -> OpRow:
    return OpRow(
        name=op.name,
        count=str(op.count),
        part=op.part,
        shape=op.shape,
        flops=units.count(op.flops),
        bytes=units.count(op.bytes),
        intensity=intensity(op.arithmetic_intensity),
        bound=op.bound or units.ABSENT,
        time=units.seconds(op.time_s),
        share=units.percent(op.share, 1),
        compute=units.seconds(op.compute_s),
        memory=units.seconds(op.memory_s),
        overhead=units.seconds(op.overhead_s),
    )


def _total(cost: PhaseCost) -> OpRow:
    return OpRow(
        name="all",
        count="",
        part="",
        shape="",
        flops=units.count(cost.flops + cost.other_flops),
        bytes=units.count(cost.bytes),
        intensity=intensity(cost.arithmetic_intensity),
        bound=cost.bound or units.ABSENT,
        time=units.seconds(cost.time_s),
        share=units.ABSENT if cost.time_s is None else "100 %",
        compute="",
        memory="",
        overhead="",
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


_SHAPES = 104  # characters from which on there is room for a column of shapes
_TERMS = 132  # from here on for the terms of the time
_MOST = 36  # ops of a phase on a terminal; a convolutional network has hundreds
_SHORT = {"communication": "network"}
_BOUNDS: dict[str, Style] = {
    "memory": "memory",
    "compute": "compute",
    "overhead": "overhead",
    "communication": "communication",
}
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
        if number == 0:
            on = f", on {machine.name}" if named else ""
            parts = [_phase(group, on) for group in op_groups(report, machine, _MOST)]
            sections.append(Section("", parts, key="ops-of-the-first", only="terminal"))
        groups = [_phase(group, "") for group in op_groups(report, machine) if group.rows]
        title = f"Ops on {machine.name}" if named else "Ops"
        sections.append(Section(title, groups, folded=number > 0, only="page"))
    return sections


def _phase(group: OpGroup, on: str) -> Section:
    rows = [_cells(row) for row in group.rows]
    if rows:
        rows.append(_cells(group.total, kind="total"))
    return Section(f"{group.title}{on}", [Table(_COLUMNS, rows), Paragraph(group.note, "note")])


def _cells(row: OpRow, kind: Literal["", "total"] = "") -> Row:
    name = row.name if row.count in ("", "1") else f"{row.name} × {row.count}"
    style = _BOUNDS.get(row.bound, "")
    return Row(
        [
            Cell(name, row.shape),
            row.name,
            row.count,
            row.shape,
            row.flops,
            row.bytes,
            row.intensity,
            Cell(_SHORT.get(row.bound, row.bound), style=style),
            Cell(row.bound, style=style),
            *(Cell(term, style="soft") for term in (row.compute, row.memory, row.overhead)),
            row.time,
            row.share,
        ],
        kind=kind,
    )
