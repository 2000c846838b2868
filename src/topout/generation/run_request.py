"""What a user asks of `topout run`, checked before anything is measured."""

from typing import Literal

import msgspec

from topout.errors import InputError
from topout.gemm.sources import GemmChoice, parse_choice
from topout.ladder.request import DEFAULT_NEW_TOKENS, ClimbRequest
from topout.models.config import ModelConfig
from topout.models.source import ModelSource
from topout.records import Dtype, WorkloadSummary

Backend = Literal["decoder", "transformers"]
BACKENDS: tuple[Backend, ...] = ("decoder", "transformers")
DEFAULT_REPEATS, QUICK_REPEATS = 5, 2


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `topout run`; None stands for a default that depends on the others."""

    model: str
    random_weights: bool = False
    gemm: str | None = None  # a version, or a C++ file
    backend: Backend = "decoder"
    prompt_len: int | None = None
    new_tokens: int = DEFAULT_NEW_TOKENS
    batch_size: int = 1
    threads: int | None = None
    dtype: Dtype | None = None
    seed: int = 0
    text: str | None = None
    repeats: int | None = None
    quick: bool = False

    def check(self) -> None:
        """Raise InputError that names the first option that cannot be meant."""
        self._as_climb().check()
        if self.repeats is not None and self.repeats < 1:
            raise InputError(f"--repeats {self.repeats} is too small.", "Give at least 1.")
        if self.backend not in BACKENDS:
            raise InputError(f"unknown backend {self.backend!r}.", f"Give {' or '.join(BACKENDS)}.")
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

    @property
    def repeat_count(self) -> int:
        """How often each way is timed."""
        return self.repeats or (QUICK_REPEATS if self.quick else DEFAULT_REPEATS)

    def workload(self, source: ModelSource, usable_cpus: int) -> WorkloadSummary:
        """What is run; raises InputError where the prompt or the threads do not fit."""
        choice, as_climb = self.choice(), self._as_climb()
        config: ModelConfig = source.config
        return WorkloadSummary(
            task="generate",
            prompt_len=as_climb.prompt_len_for(config),
            new_tokens=self.new_tokens,
            batch_size=self.batch_size,
            threads=as_climb.threads_for(usable_cpus),
            device="cpu",
            dtype=self.dtype or (choice.dtype if choice is not None else "fp32"),
            temperature=0.0,
            seed=self.seed,
        )

    def _as_climb(self) -> ClimbRequest:
        """The same options of a climb, which has the same rules for them."""
        return ClimbRequest(
            model=self.model,
            random_weights=self.random_weights,
            prompt_len=self.prompt_len,
            new_tokens=self.new_tokens,
            batch_size=self.batch_size,
            threads=self.threads,
            dtype=self.dtype,
            seed=self.seed,
            text=self.text,
        )
