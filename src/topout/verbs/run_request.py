"""What a user asks of `topout run`, checked before anything is measured."""

from typing import Annotated

from topout.errors import InputError
from topout.gemm.sources import GemmChoice, parse_choice
from topout.generation.request import BackendOption, GenerationRequest
from topout.models.precision import Precision
from topout.models.source import ModelSource, PassSource
from topout.options import Option
from topout.records import Machine, Task

DEFAULT_REPEATS, PASS_REPEATS, QUICK_REPEATS = 5, 20, 2


class RunRequest(GenerationRequest, frozen=True, kw_only=True):
    """The options of `topout run`; None stands for a default that depends on the others."""

    gemm: Annotated[
        str | None,
        Option("A matrix product to put in PyTorch's place.", metavar="VERSION|FILE.cpp"),
    ] = None
    backend: BackendOption = "decoder"
    repeats: Annotated[
        int | None,
        Option(
            "Runs, or pairs of runs with --gemm; default: 5, of single passes 20, quick: 2.",
            least=1,
        ),
    ] = None
    quick: Annotated[bool, Option("Two runs of a few tokens.")] = False

    def check(self) -> None:
        """Raise InputError or UnknownNameError for a product that cannot be put there."""
        choice = self.choice()
        if choice is not None and self.dtype not in (None, choice.dtype):
            raise InputError(
                f"--gemm {self.gemm} is of {choice.dtype}, and --dtype {self.dtype} leaves it "
                "nothing to multiply.",
                f"Give --dtype {choice.dtype}.",
            )

    def choice(self) -> GemmChoice | None:
        """The product to put in PyTorch's place; raises as `parse_choice` does."""
        if self.gemm is None:
            return None
        return parse_choice(self.gemm, "bf16" if self.dtype == "bf16" else "fp32")

    def repeats_of(self, task: Task) -> int:
        """How often each way is timed."""
        usual = PASS_REPEATS if task == "forward" else DEFAULT_REPEATS
        return self.repeats or (QUICK_REPEATS if self.quick else usual)

    def precision_for(self, source: ModelSource | PassSource, machine: Machine) -> Precision:
        """That of a --gemm, which decides it; raises InputError as `precision_of` does."""
        choice = self.choice()
        if self.dtype is not None or choice is None:
            return super().precision_for(source, machine)
        return Precision(choice.dtype, f"that of --gemm {self.gemm}")
