"""The child process in which one stack of rungs lives: `python -m topout.ladder.worker`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from topout.generation.build import Transform
from topout.generation.reference import Reference
from topout.generation.session_worker import SessionWorker
from topout.ladder.acceptance import expected_tokens_per_pass
from topout.measure.worker import Handler
from topout.rungs.registry import find_rung, let_in


class ClimbWorker(SessionWorker):
    """Knows the rungs, and what a speculation would accept."""

    def handlers(self) -> dict[str, Handler]:
        """Those of every session, and one more."""
        return super().handlers() | {"acceptance": self.acceptance}

    def transforms(self, names: Sequence[str]) -> Sequence[Transform]:
        """The rungs of these names, which the parent has from its user."""
        let_in(names)
        return [find_rung(name) for name in names]

    def acceptance(self, params: dict[str, Any]) -> dict[str, float]:
        """Tokens per pass that each way of speculating would yield on the baseline's own output.

        That is what it generated while it was timed; where it was not (a resumed climb), the
        continuations of its reference.
        """
        if self.generated:
            prompts = torch.cat([self.prompts[number] for number in self.generated])
            # The first run may have been timed over more tokens than those after it.
            shortest = min(tokens.shape[1] for tokens in self.generated.values())
            continuations = torch.cat([each[:, :shortest] for each in self.generated.values()])
        else:
            reference = Reference.load(Path(params["path"]))
            prompts = reference.prompts
            continuations = reference.greedy[:, : params["timed_tokens"]]
        return expected_tokens_per_pass(prompts, continuations, self.preparation.build())


if __name__ == "__main__":
    ClimbWorker().serve()
