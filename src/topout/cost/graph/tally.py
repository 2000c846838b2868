"""Sums of what was counted, by module, op, phase and shapes, and their records."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

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
Group = TypeVar("Group", bound=Hashable)


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
        for figure in fields(self):
            setattr(self, figure.name, getattr(self, figure.name) + getattr(other, figure.name))

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


class Tally:
    """The rows of a count as they come, and what they add up to."""

    def __init__(self) -> None:
        self._rows: dict[RowKey, Sums] = {}

    def add(self, key: RowKey, figures: Sums) -> None:
        """Count one more call."""
        if key in self._rows:
            self._rows[key].add(figures)
        else:
            self._rows[key] = figures

    def total(self) -> Work:
        """All rows together."""
        return self._by(lambda key: None).get(None, Sums()).work()

    def phases(self) -> dict[CountPhase, Work]:
        """All rows of each phase, in the order in which the phases came."""
        return _works(self._by(lambda key: key.phase))

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
        sums = self._by(lambda key: (key.name, key.family, key.phase))
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
        exclusive: dict[str, dict[CountPhase, Sums]] = {}
        inclusive: dict[str, dict[CountPhase, Sums]] = {}
        for key, figures in self._rows.items():
            for sums, names in ((exclusive, key.path[-1:]), (inclusive, key.path)):
                for name in names:
                    sums.setdefault(name, {}).setdefault(key.phase, Sums()).add(figures)
        return [
            ModuleCount(
                name=name,
                type=kind,
                calls=calls.get(name, 0),
                exclusive=_works(exclusive.get(name, {})),
                inclusive=_works(inclusive.get(name, {})),
                compulsory_bytes=compulsory_bytes.get(name),
            )
            for name, kind in types.items()
            if name == "" or name in calls
        ]

    def not_counted(self) -> list[NotCounted]:
        """The rows without a formula, by op, module, phase and reason."""
        sums = self._by(lambda key: (key.name, key.path[-1], key.phase, key.reason))
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
            if reason is not None
        ]

    def _by(self, part: Callable[[RowKey], Group]) -> dict[Group, Sums]:
        """Sums of the rows with this part of their keys in common, in the order of the rows."""
        sums: dict[Group, Sums] = {}
        for key, figures in self._rows.items():
            sums.setdefault(part(key), Sums()).add(figures)
        return sums


def _works(sums: Mapping[CountPhase, Sums]) -> dict[CountPhase, Work]:
    return {phase: figures.work() for phase, figures in sums.items()}
