"""Sums of what was counted, by module, op, phase and shapes, and their records."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from topout.cost.graph.places import Path
from topout.records.count import (
    CountedOp,
    CountPhase,
    ModuleCount,
    NotCounted,
    OpFamily,
    OpTotal,
    Work,
)

Shape = tuple[int, ...]


class RowKey(NamedTuple):
    """What calls must have in common to be one row."""

    path: Path
    phase: CountPhase
    name: str
    family: OpFamily
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtype: str
    reason: str | None  # why it was not counted


@dataclass(slots=True)
class Sums:
    """Figures of some calls together."""

    calls: int = 0
    flops: int = 0
    causal_flops: int = 0
    other_flops: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    def add(self, other: "Sums") -> None:
        """Add the figures of `other`."""
        self.calls += other.calls
        self.flops += other.flops
        self.causal_flops += other.causal_flops
        self.other_flops += other.other_flops
        self.read_bytes += other.read_bytes
        self.written_bytes += other.written_bytes

    def work(self) -> Work:
        """The figures as a record."""
        moved = self.read_bytes + self.written_bytes
        return Work(
            calls=self.calls,
            flops=self.flops,
            causal_flops=self.causal_flops,
            other_flops=self.other_flops,
            read_bytes=self.read_bytes,
            written_bytes=self.written_bytes,
            bytes=moved,
            arithmetic_intensity=(self.flops + self.other_flops) / moved if moved else None,
        )


@dataclass(slots=True)
class _ModuleSums:
    exclusive: dict[CountPhase, Sums] = field(default_factory=dict)
    inclusive: dict[CountPhase, Sums] = field(default_factory=dict)


class Tally:
    """The rows of a count as they come, and what they add up to."""

    def __init__(self) -> None:
        self._rows: dict[RowKey, Sums] = {}

    def add(self, key: RowKey, figures: Sums) -> None:
        """Count one more call."""
        row = self._rows.get(key)
        if row is None:
            self._rows[key] = figures
        else:
            row.add(figures)

    def total(self) -> Work:
        """All rows together."""
        return _together(self._rows.values()).work()

    def phases(self) -> dict[CountPhase, Work]:
        """All rows of each phase, in the order in which the phases came."""
        sums: dict[CountPhase, Sums] = {}
        for key, figures in self._rows.items():
            sums.setdefault(key.phase, Sums()).add(figures)
        return {phase: figures.work() for phase, figures in sums.items()}

    def rows(self) -> list[CountedOp]:
        """Each row as a record, in the order of their first calls."""
        return [
            CountedOp(
                name=key.name,
                family=key.family,
                phase=key.phase,
                module=key.path[-1],
                inputs=[list(shape) for shape in key.inputs],
                outputs=[list(shape) for shape in key.outputs],
                dtype=key.dtype,
                work=figures.work(),
            )
            for key, figures in self._rows.items()
        ]

    def ops(self) -> list[OpTotal]:
        """Sums by op and phase; the most FLOPs first, then the most bytes."""
        sums: dict[tuple[str, OpFamily, CountPhase], Sums] = {}
        for key, figures in self._rows.items():
            sums.setdefault((key.name, key.family, key.phase), Sums()).add(figures)
        totals = [
            OpTotal(name=name, family=family, phase=phase, work=figures.work())
            for (name, family, phase), figures in sums.items()
        ]
        return sorted(totals, key=lambda op: (-op.work.flops, -op.work.bytes))

    def modules(
        self,
        types: dict[str, str],
        calls: dict[str, int],
        compulsory_bytes: dict[str | None, int],
    ) -> list[ModuleCount]:
        """The target, then all modules that were called, in the order of their names in it."""
        sums: dict[str, _ModuleSums] = {}
        for key, figures in self._rows.items():
            own = sums.setdefault(key.path[-1], _ModuleSums())
            own.exclusive.setdefault(key.phase, Sums()).add(figures)
            for name in key.path:
                whole = sums.setdefault(name, _ModuleSums())
                whole.inclusive.setdefault(key.phase, Sums()).add(figures)
        return [
            _module(name, kind, calls.get(name, 0), sums, compulsory_bytes.get(name))
            for name, kind in types.items()
            if name == "" or name in calls
        ]

    def not_counted(self) -> list[NotCounted]:
        """The rows without a formula, by op, module, phase and reason."""
        sums: dict[tuple[str, str, CountPhase, str], Sums] = {}
        for key, figures in self._rows.items():
            if key.reason is not None:
                short = (key.name, key.path[-1], key.phase, key.reason)
                sums.setdefault(short, Sums()).add(figures)
        return [
            NotCounted(
                name=name,
                module=module,
                phase=phase,
                calls=figures.calls,
                bytes=figures.read_bytes + figures.written_bytes,
                reason=reason,
            )
            for (name, module, phase, reason), figures in sums.items()
        ]


def _together(parts: Iterable[Sums]) -> Sums:
    total = Sums()
    for part in parts:
        total.add(part)
    return total


def _module(
    name: str, kind: str, calls: int, sums: dict[str, _ModuleSums], compulsory_bytes: int | None
) -> ModuleCount:
    own = sums.get(name, _ModuleSums())
    return ModuleCount(
        name=name,
        type=kind,
        calls=calls,
        exclusive={phase: figures.work() for phase, figures in own.exclusive.items()},
        inclusive={phase: figures.work() for phase, figures in own.inclusive.items()},
        compulsory_bytes=compulsory_bytes,
    )
