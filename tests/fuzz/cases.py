"""A case by its number: which target, which seed of it, and what is done to the file."""

import functools
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzz.target import Seed, Target

SEED = 20261129


class Case(NamedTuple):
    """A folder of inputs of which one was damaged."""

    number: int
    target: Target
    what: str  # "kineto: rank0.json of kineto-old, flip_bits, truncate"
    files: dict[str, bytes]
    damaged: str

    def write(self, folder: Path) -> Path:
        """The folder with the inputs in it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


@functools.cache
def _seeds_of(make: Callable[[], Sequence[Seed]]) -> Sequence[Seed]:
    return make()


def targets_of(where: str = "") -> Sequence[Target]:
    """Those of `tests.fuzz.targets`, or of another MODULE:NAME; imported when asked for."""
    module, _, name = (where or "tests.fuzz.targets:TARGETS").partition(":")
    found: Sequence[Target] = getattr(importlib.import_module(module), name)
    return found


def case_of(number: int, targets: Sequence[Target] = (), seed: int = SEED) -> Case:
    """The case of a number, the same each time."""
    targets = targets or targets_of()
    random = Random(f"{seed}/{number}")
    turns = [target for target in targets for _ in range(target.weight)]
    target = turns[number % len(turns)]
    chosen = random.choice(_seeds_of(target.seeds))
    data = chosen.files[chosen.damaged]
    done = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        mutate = random.choice(target.mutators)
        data = mutate(data, random)[:_MOST_BYTES]
        done.append(mutate.__name__)
    what = f"{target.name}: {chosen.damaged} of {chosen.name}, {', '.join(done)}"
    return Case(number, target, what, {**chosen.files, chosen.damaged: data}, chosen.damaged)


_MOST_BYTES = 8 << 20  # of a damaged input; what is done to it may be done again
