"""What a user asks of `topout profile`, checked before anything is run."""

from pathlib import Path
from typing import Literal

import msgspec

from topout.errors import InputError, OutputError
from topout.generation.request import BACKENDS, Backend, GenerationRequest, one_of
from topout.machine.ceilings import check_device
from topout.models.config import ModelConfig
from topout.records import WorkloadSummary

PhaseChoice = Literal["both", "prefill", "decode"]
PHASE_CHOICES: tuple[PhaseChoice, ...] = ("both", "prefill", "decode")
DEFAULT_NEW_TOKENS = 8  # a few passes of decode: each is like the next
DEFAULT_REPEATS = 3
MOST_REPEATS, MOST_NEW_TOKENS = 1000, 512  # of a trace that fits into memory


class ProfileRequest(GenerationRequest, frozen=True, kw_only=True):
    """The options of `topout profile`; None stands for a default that depends on the others."""

    backend: Backend = "decoder"
    phase: PhaseChoice = "both"
    new_tokens: int = DEFAULT_NEW_TOKENS
    device: str = "cpu"
    repeats: int = DEFAULT_REPEATS  # pairs of a run with the profiler and one without
    perfetto: Path | None = None
    tensorboard: Path | None = None

    def check(self) -> None:
        """Raise InputError or OutputError that names the first option that cannot be meant."""
        super().check()
        check_device(self.device)
        if self.new_tokens > MOST_NEW_TOKENS:
            raise InputError(
                f"--new-tokens {self.new_tokens} makes a trace too long to be read.",
                f"Give at most {MOST_NEW_TOKENS}: one token's pass is like the next.",
            )
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise InputError(f"--repeats {self.repeats}.", f"Give 1 to {MOST_REPEATS}.")
        one_of("backend", self.backend, BACKENDS)
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

    def workload(self, config: ModelConfig, usable_cpus: int) -> WorkloadSummary:
        """What is run; raises InputError where the prompt or the threads do not fit."""
        workload = super().workload(config, usable_cpus)
        return msgspec.structs.replace(workload, device=self.device)
