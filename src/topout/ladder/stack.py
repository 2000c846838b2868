"""A stack: the rungs that are in force together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from topout.errors import InputError
from topout.records import OutputClass, Task
from topout.rungs.registry import BASELINE, find_rung, required_by, rung_names
from topout.rungs.rung import Rung


@dataclass(frozen=True)
class Stack:
    """Rungs in the order they are built, bottom first; none of them is the baseline.

    Raises InputError where what a rung requires is not below it, one excludes another, or is a
    change of another task.
    """

    rungs: tuple[Rung, ...] = ()
    task: Task = "generate"

    def __post_init__(self) -> None:
        for place, rung in enumerate(self.rungs):
            if self.task not in rung.tasks:
                what = "a generation" if self.task == "forward" else "one pass"
                raise InputError(
                    f"the rung {rung.name} changes {what} alone.",
                    f"Rungs here are: {', '.join(rung_names(self.task))}.",
                )
            below = self.rungs[:place]
            names = [each.name for each in below]
            missing = [name for name in required_by(rung, self.task) if name not in names]
            rivals = [each.name for each in below if _exclude_each_other(each, rung)]
            if missing or rivals:
                needs = f"requires {missing[0]}" if missing else f"cannot be beside {rivals[0]}"
                raise InputError(
                    f"{rung.name} {needs}, and is put on {label_of(names)}.",
                    "Choose other rungs.",
                )

    @classmethod
    def of(cls, names: Sequence[str], task: Task = "generate") -> Stack:
        """The stack of these rungs; raises as `find_rung` does, and InputError."""
        return cls(tuple(find_rung(name) for name in names if name != BASELINE), task)

    @property
    def names(self) -> list[str]:
        """The rungs' names, bottom first."""
        return [rung.name for rung in self.rungs]

    @property
    def label(self) -> str:
        """How the stack is called in results."""
        return label_of(self.names)

    @property
    def output_class(self) -> OutputClass:
        """Exact only where all rungs are."""
        return "near" if any(rung.output_class == "near" for rung in self.rungs) else "exact"

    @property
    def below(self) -> Stack:
        """The stack that the topmost rung stands on."""
        return Stack(self.rungs[:-1], self.task)

    def plus(self, rung: Rung) -> Stack:
        """This stack with a rung on top, and what that requires where it belongs.

        What cannot be beside them is left out, and what stands on something left out. Raises as
        `find_rung` does where a rung requires an unknown one, and InputError.
        """
        added = [*_required_by(rung, self.task), rung]
        kept: list[Rung] = []
        for each in self.rungs:
            fits = not any(_exclude_each_other(each, new) for new in added)
            required = set(required_by(each, self.task))
            if fits and required <= {below.name for below in kept}:
                kept.append(each)
        for below in added[:-1]:
            if below.name not in {each.name for each in kept}:
                kept.insert(_place(below, kept), below)
        return Stack((*kept, rung), self.task)


def label_of(names: Sequence[str]) -> str:
    """How a stack is called in results: its rungs joined, the baseline where there is none."""
    return " + ".join(names) if names else BASELINE


def _exclude_each_other(one: Rung, other: Rung) -> bool:
    return one.name in other.excludes or other.name in one.excludes


def _required_by(rung: Rung, task: Task) -> list[Rung]:
    """All that a rung requires, and what that requires, bottom first."""
    found: dict[str, Rung] = {}
    for name in required_by(rung, task):
        below = find_rung(name)
        found |= {each.name: each for each in [*_required_by(below, task), below]}
    return list(found.values())


def _place(rung: Rung, stack: Sequence[Rung]) -> int:
    """Where a rung belongs: above all that are before it on the ladder, a user's own on top."""
    order = rung_names()
    if rung.name not in order:
        return len(stack)
    earlier = order[: order.index(rung.name)]
    return max((place + 1 for place, each in enumerate(stack) if each.name in earlier), default=0)
