"""What a rung is: one change to how a model generates, in hooks that a session is built through.

A stack of rungs is built in this order, each hook called rung by rung from the bottom up:
`configure` (before weights are loaded) → weights → `transform_model` (swap modules) →
`transform_steps` (wrap prefill and decode) → `transform_session` (wrap the generation loop).
A new rung overrides the hooks that it needs and states what it stands on, when it applies, its
output class, and what the cost model should expect of it (`expect`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from topout.cost.predict import Expectation
from topout.generation.sampling import Sampling
from topout.models.load import ModelSource
from topout.records import OutputClass, WorkloadSummary

if TYPE_CHECKING:
    from topout.generation.session import Session
    from topout.generation.steps import Steps
    from topout.models.decoder import Decoder

MOST_PROPOSED_TOKENS = 4  # per verification pass, of any rung that speculates
TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Build:
    """What a session is built from; `configure` may change the fields below `quantized_folder`."""

    source: ModelSource
    workload: WorkloadSummary
    draft: ModelSource | None
    quantized_folder: Path
    dtype: torch.dtype
    stack: list[Rung] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return torch.device(self.workload.device)

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen from logits."""
        return Sampling(temperature=self.workload.temperature, top_k=self.workload.top_k)

    @property
    def cache_len(self) -> int:
        """Positions of a static KV cache: the workload and what speculation overshoots.

        The same for every stack, so that graphs which differ in nothing else are compiled once.
        """
        return self.workload.prompt_len + self.workload.new_tokens + MOST_PROPOSED_TOKENS + 1


class Rung:
    """One change to how a model generates."""

    name: ClassVar[str]
    change: ClassVar[str]  # one sentence: what it changes and why that should help
    requires: ClassVar[tuple[str, ...]] = ()  # rungs that must be in force
    excludes: ClassVar[tuple[str, ...]] = ()  # rungs that must not be
    output_class: ClassVar[OutputClass] = "exact"

    def reason_to_skip(self, build: Build) -> str | None:
        """Why this rung does not apply to a model, workload or machine; None where it does."""
        return None

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """Tell the cost model what this rung changes."""
        return expectation

    def configure(self, build: Build) -> None:
        """Change what the session is built from, before weights are loaded."""

    def transform_model(self, model: Decoder, build: Build) -> Decoder:
        """Change the decoder's modules."""
        return model

    def transform_steps(self, steps: Steps, build: Build) -> Steps:
        """Wrap prefill and decode."""
        return steps

    def transform_session(self, session: Session, build: Build) -> Session:
        """Wrap the generation loop."""
        return session


def memory_bytes_of(model: torch.nn.Module) -> int:
    """Bytes of a module's parameters, buffers and packed weights, shared storage counted once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in [*model.parameters(), *model.buffers()]
    }
    packed = sum(getattr(part, "packed_bytes", 0) for part in model.modules())
    return sum(storages.values()) + packed
