"""What a user asks of `topout climb`, checked before anything is measured."""

import math

import msgspec

from topout.errors import InputError
from topout.generation.request import GenerationRequest, at_least
from topout.machine.ceilings import check_device
from topout.models.config import ModelConfig
from topout.records import WorkloadSummary


class ClimbRequest(GenerationRequest, frozen=True, kw_only=True):
    """The options of `topout climb`; None stands for a default that depends on the model."""

    draft: str | None = None
    device: str = "cpu"
    temperature: float = 0.0
    top_k: int | None = None
    rungs: list[str] | None = None
    max_loss: float = 0.01
    time_per_rung_s: float = 20.0
    rung_timeout_s: float = 600.0
    quick: bool = False

    def check(self) -> None:
        """Raise InputError that names the first option that cannot be meant."""
        super().check()
        at_least("--top-k", self.top_k, 1)
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise InputError(
                f"--temperature {self.temperature:g} is out of range.",
                "Give 0 for greedy, or more.",
            )
        if not (self.max_loss >= 0 and math.isfinite(self.max_loss)):
            raise InputError(f"--max-loss {self.max_loss:g} is out of range.", "Give 0.01 for 1 %.")
        check_device(self.device)
        for option, span_s in (
            ("--time-per-rung", self.time_per_rung_s),
            ("--rung-timeout", self.rung_timeout_s),
        ):
            if not (span_s > 0 and math.isfinite(span_s)):
                raise InputError(f"{option} {span_s:g} is out of range.", "Give seconds above 0.")

    def workload(self, config: ModelConfig, usable_cpus: int) -> WorkloadSummary:
        """What every rung runs; raises InputError where the prompt or the threads do not fit."""
        return msgspec.structs.replace(
            super().workload(config, usable_cpus),
            device=self.device,
            dtype=self.dtype or ("bf16" if self.device == "cuda" else "fp32"),
            temperature=self.temperature,
            top_k=self.top_k,
        )
