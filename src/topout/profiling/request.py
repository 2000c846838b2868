"""What a user asks of `topout profile`, checked before anything is run."""

from pathlib import Path
from typing import Literal

import msgspec

from topout.errors import InputError, OutputError
from topout.generation.run_request import BACKENDS, Backend
from topout.ladder.request import ClimbRequest
from topout.models.config import ModelConfig
from topout.models.source import ModelSource
from topout.records import Dtype, WorkloadSummary

PhaseChoice = Literal["both", "prefill", "decode"]
PHASE_CHOICES: tuple[PhaseChoice, ...] = ("both", "prefill", "decode")
DEFAULT_NEW_TOKENS = 8  # a few passes of decode: each is like the next
DEFAULT_REPEATS = 3
MOST_REPEATS, MOST_NEW_TOKENS = 1000, 512  # of a trace that fits into memory


class ProfileRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `topout profile`; None stands for a default that depends on the others."""

    model: str
    random_weights: bool = False
    backend: Backend = "decoder"
    phase: PhaseChoice = "both"
    prompt_len: int | None = None
    new_tokens: int = DEFAULT_NEW_TOKENS
    batch_size: int = 1
    threads: int | None = None
    device: str = "cpu"
    dtype: Dtype | None = None
    seed: int = 0
    text: str | None = None
    repeats: int = DEFAULT_REPEATS  # pairs of a run with the profiler and one without
    perfetto: Path | None = None
    tensorboard: Path | None = None

    def check(self) -> None:
        """Raise InputError or OutputError that names the first option that cannot be meant."""
        self._as_climb().check()
        if self.new_tokens > MOST_NEW_TOKENS:
            raise InputError(
                f"--new-tokens {self.new_tokens} makes a trace too long to be read.",
                f"Give at most {MOST_NEW_TOKENS}: one token's pass is like the next.",
            )
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise InputError(f"--repeats {self.repeats}.", f"Give 1 to {MOST_REPEATS}.")
        if self.backend not in BACKENDS:
            raise InputError(f"unknown backend {self.backend!r}.", f"Give {' or '.join(BACKENDS)}.")
        if self.phase not in PHASE_CHOICES:
            raise InputError(f"unknown phase {self.phase!r}.", f"Give {', '.join(PHASE_CHOICES)}.")
        for option, path in (("--perfetto", self.perfetto), ("--tensorboard", self.tensorboard)):
            if path is not None and not path.absolute().parent.is_dir():
                raise OutputError(
                    f"{option} {path}: there is no folder {path.parent}.", "Create it."
                )

    @property
    def run_tokens(self) -> int:
        """Tokens that a run generates: decode comes after prefill, never without it."""
        return 1 if self.phase == "prefill" else self.new_tokens

    @property
    def wanted(self) -> list[str] | None:
        """The phases that are looked at; None: all."""
        return None if self.phase == "both" else [self.phase]

    def workload(self, source: ModelSource, usable_cpus: int) -> WorkloadSummary:
        """What is run; raises InputError where the prompt or the threads do not fit."""
        as_climb = self._as_climb()
        config: ModelConfig = source.config
        return WorkloadSummary(
            task="generate",
            prompt_len=as_climb.prompt_len_for(config),
            new_tokens=self.new_tokens,
            batch_size=self.batch_size,
            threads=as_climb.threads_for(usable_cpus),
            device=self.device,
            dtype=self.dtype or "fp32",
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
            device=self.device,
            dtype=self.dtype,
            seed=self.seed,
            text=self.text,
        )
