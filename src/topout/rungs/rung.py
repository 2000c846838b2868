"""What a rung is: one change to how a model generates, and what the ladder must know of it.

A new rung overrides the hooks of `Transform` that it needs (`topout.generation.build` says when
each is called) and states what it stands on, when it applies, its output class, and what the cost
model should expect of it (`expect`).
"""

from typing import ClassVar

import torch

from topout.cost.predict import Expectation
from topout.generation.build import Build, Transform
from topout.quantization.rounding import Scheme


class Rung(Transform):
    """One change to how a model generates. It has no state: one instance serves all stacks."""

    name: ClassVar[str]
    change: ClassVar[str]  # one sentence: what it changes and why that should help
    requires: ClassVar[tuple[str, ...]] = ()  # rungs that must be in force
    excludes: ClassVar[tuple[str, ...]] = ()  # rungs that must not be

    def reason_to_skip(self, build: Build) -> str | None:
        """Why this rung does not apply to a model, workload or machine; None where it does."""
        return None

    def stored_linear_weights(self) -> Scheme | torch.dtype | None:
        """In what the linear layers' weights are saved with a stack; None: as they are loaded."""
        return None

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """Tell the cost model what this rung changes."""
        return expectation
