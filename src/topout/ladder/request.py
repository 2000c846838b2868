"""What a user asks of `topout climb`, checked before anything is measured."""

from pathlib import Path
from typing import Annotated

import msgspec

from topout.generation.request import GenerationDtype, GenerationRequest
from topout.models.source import ModelSource, PassSource
from topout.options import Device, Option, Request
from topout.records import Machine, WorkloadSummary


class ClimbRequest(GenerationRequest, frozen=True, kw_only=True):
    """The options of `topout climb`; None stands for a default that depends on the model."""

    draft: Annotated[str | None, Option("A smaller model to speculate with.", metavar="MODEL")] = (
        None
    )
    device: Annotated[Device, Option("Where it runs.")] = "cpu"
    dtype: Annotated[
        GenerationDtype | None,
        Option("Of the baseline; default: as published, where that is run here."),
    ] = None
    temperature: Annotated[float, Option("Of sampling; 0 is greedy.", least=0)] = 0.0
    top_k: Annotated[int | None, Option("Sample among the k likeliest.", least=1)] = None
    rungs: Annotated[
        list[str] | None,
        Option("Names with commas between; MODULE:CLASS for your own.", metavar="NAME,…"),
    ] = None
    max_loss: Annotated[
        float, Option("What a near rung may cost in perplexity: 0.01 is 1 %.", least=0)
    ] = 0.01
    accept_unproven: Annotated[
        bool, Option("Keep a near rung whose loss could not be proven to be within --max-loss.")
    ] = False
    time_per_check_s: Annotated[
        float,
        Option(
            "Seconds to score held-out text with a rung until its loss is decided.",
            flag="--time-per-check",
            above=0,
        ),
    ] = 15.0
    time_per_rung_s: Annotated[
        float,
        Option(
            "Seconds to time a rung for; up to three times as long where that decides.",
            flag="--time-per-rung",
            above=0,
        ),
    ] = 20.0
    rung_timeout_s: Annotated[
        float, Option("Seconds until a rung counts as hung.", flag="--rung-timeout", above=0)
    ] = 600.0
    quick: Annotated[
        bool, Option("Fewer pairs per rung; predictions from the ceilings where no rates are kept.")
    ] = False
    dry_run: Annotated[bool, Option("Print the predicted ladder; run no rung.")] = False

    @property
    def runs_on(self) -> Device:
        """As asked."""
        return self.device

    @property
    def loads_weights(self) -> bool:
        """Not for a prediction."""
        return not self.dry_run

    def workload(self, source: ModelSource | PassSource, machine: Machine) -> WorkloadSummary:
        """What every rung runs; raises as that of a generation does."""
        return msgspec.structs.replace(
            super().workload(source, machine), temperature=self.temperature, top_k=self.top_k
        )


class ResumeRequest(Request, frozen=True, kw_only=True):
    """The options of `topout climb resume`; those of the climb lie in its folder.

    A rung of the user's own is named again: what a folder says runs no code.
    """

    folder: Annotated[Path, Option("That of the interrupted climb.", positional=True)]
    rungs: Annotated[
        list[str] | None,
        Option("Those of your own that it has, to be run again.", metavar="MODULE:CLASS,…"),
    ] = None
