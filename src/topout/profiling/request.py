"""What a user asks of `topout profile`, checked before anything is run."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from topout.errors import InputError
from topout.generation.request import BackendOption, GenerationRequest
from topout.models.source import ModelSource, PassSource
from topout.options import Device, Option
from topout.records import Machine, WorkloadSummary
from topout.whole_file import check_folder, check_place

PhaseChoice = Literal["both", "prefill", "decode"]
DEFAULT_NEW_TOKENS = 8  # a few passes of decode: each is like the next
DEFAULT_REPEATS = 3


class ProfileRequest(GenerationRequest, frozen=True, kw_only=True):
    """The options of `topout profile`; None stands for a default that depends on the others."""

    default_new_tokens: ClassVar[int] = DEFAULT_NEW_TOKENS

    backend: BackendOption = "decoder"
    phase: Annotated[PhaseChoice, Option("Which part of generating.")] = "both"
    # More than 512 would make a trace too long to be read: one token's pass is like the next.
    new_tokens: Annotated[
        int,
        Option(
            "Tokens to generate: the first is prefill's, the others decode's.", least=2, most=512
        ),
    ] = DEFAULT_NEW_TOKENS
    device: Annotated[Device, Option("Where it runs.")] = "cpu"
    repeats: Annotated[
        int, Option("Pairs of runs, one with the profiler and one without.", least=1, most=1000)
    ] = DEFAULT_REPEATS
    perfetto: Annotated[
        Path | None,
        Option("Put the trace there, for Perfetto or Chrome.", metavar="FILE.json.gz", writes=True),
    ] = None
    tensorboard: Annotated[
        Path | None, Option("Put the trace there, for TensorBoard.", metavar="FOLDER")
    ] = None

    def check(self) -> None:
        """Raise OutputError where a trace could not be written."""
        check_exports(self.perfetto, self.tensorboard)

    def workload(self, source: ModelSource | PassSource, machine: Machine) -> WorkloadSummary:
        """What is run; raises as that of a generation does, InputError for a phase it lacks."""
        found = super().workload(source, machine)
        if found.task == "forward" and self.phase != "both":
            raise InputError(
                f"{source.name} runs in one pass and has no {self.phase}.",
                "Leave --phase out for this model.",
            )
        return found

    @property
    def run_tokens(self) -> int:
        """Tokens that a run generates: decode comes after prefill, never without it."""
        return 1 if self.phase == "prefill" else self.new_tokens

    @property
    def wanted(self) -> list[str] | None:
        """The phases that are looked at; None: all."""
        return None if self.phase == "both" else [self.phase]

    @property
    def runs_on(self) -> Device:
        """As asked."""
        return self.device


def check_exports(perfetto: Path | None, tensorboard: Path | None) -> None:
    """Raise OutputError where a trace could not be put into such a file or folder."""
    if perfetto is not None:
        check_place("perfetto", perfetto)
    if tensorboard is not None:
        check_folder("tensorboard", tensorboard)
