"""From a model and the transforms applied to it to a session that generates.

A session is built in this order, each hook called transform by transform from the bottom up:
`configure` (before weights are loaded) → weights → `transform_model` (swap modules) →
`transform_steps` (wrap prefill and decode) → `transform_session` (wrap the generation loop).
A model of one pass: `configure` → weights → `transform_module` → `transform_pass` (wrap the call).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
import torch
from torch import nn

from topout.errors import UnsupportedError
from topout.generation.pass_session import Pass, PassSession
from topout.generation.request import Backend
from topout.generation.sampling import Sampling
from topout.generation.session import DecoderSession, Session, TransformersSession
from topout.generation.speculation import PROPOSED_TOKENS
from topout.generation.steps import DecoderSteps, Steps
from topout.models.config import ModelConfig
from topout.models.decoder import Decoder
from topout.models.load import load_decoder, load_transformers
from topout.models.pass_model import load_pass, resolve_pass
from topout.models.source import ModelSource, PassSource, resolve_model
from topout.records import OutputClass, Task, WorkloadSummary

if TYPE_CHECKING:
    from typing_extensions import TypeIs

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def require_cuda() -> None:
    """Raise UnsupportedError where PyTorch sees no GPU."""
    if not torch.cuda.is_available():
        raise UnsupportedError(
            "--device cuda: PyTorch sees no GPU here.",
            "Use --device cpu, or a CUDA build of torch.",
        )


class ModelChoice(msgspec.Struct, frozen=True):
    """How a worker finds the model that its parent has resolved: by folder, or by name and seed."""

    name_or_path: str
    random_weights: bool = False
    seed: int = 0

    @classmethod
    def of(cls, source: ModelSource | PassSource) -> ModelChoice:
        """The choice that resolves to the same model."""
        folder = source.folder
        return cls(
            name_or_path=str(folder.absolute()) if folder is not None else source.name,
            random_weights=source.origin == "random",
            seed=source.seed,
        )

    def resolve(self) -> ModelSource:
        """The model's source; raises as `resolve_model` does."""
        return resolve_model(self.name_or_path, random_weights=self.random_weights, seed=self.seed)

    def resolve_pass(self, image_size: int | None) -> PassSource:
        """The same of a model of one pass."""
        return resolve_pass(
            self.name_or_path,
            random_weights=self.random_weights,
            seed=self.seed,
            image_size=image_size,
        )


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is asked to build, and to warm up before anything is timed."""

    model: ModelChoice
    draft: ModelChoice | None = None
    workload: WorkloadSummary
    texts: str  # safetensors file with `prompts` [P, B, S] and `windows` [W, S + T]
    quantized_folder: str
    backend: Backend = "transformers"
    transforms: list[str] = []  # names, bottom first
    warmup_tokens: int = 12  # of each run before any is timed

    def build(self) -> Build:
        """What the session is built from, before any transform; raises as `resolve_model` does."""
        runs_once = self.workload.task == "forward"
        image_size = self.workload.image_size
        return Build(
            source=self.model.resolve_pass(image_size) if runs_once else self.model.resolve(),
            workload=self.workload,
            draft=self.draft.resolve() if self.draft else None,
            quantized_folder=Path(self.quantized_folder),
            dtype=TORCH_DTYPES[self.workload.dtype],
            backend=self.backend,
        )


@dataclass
class Build:
    """What a session is built from; `configure` may change the fields below `quantized_folder`."""

    source: ModelSource | PassSource
    workload: WorkloadSummary
    draft: ModelSource | None
    quantized_folder: Path
    dtype: torch.dtype
    backend: Backend = "transformers"
    transforms: tuple[Transform, ...] = ()
    # Where prompts may have any length: the longest text, and how much of it the caches hold now.
    context_len: int | None = None
    capacity: int | None = None
    draft_model: Decoder | None = None  # once a transform has loaded it

    @property
    def decoder(self) -> ModelSource:
        """The source, of a workload that generates."""
        assert is_decoder(self.source)
        return self.source

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

        The same for every session, so that graphs which differ in nothing else are compiled once.
        """
        if self.context_len is not None:
            return self.capacity or self.context_len
        return self.workload.prompt_len + self.workload.new_tokens + PROPOSED_TOKENS + 1

    @property
    def max_len(self) -> int:
        """Positions that a model must know: those of the longest cache."""
        return self.context_len or self.cache_len


def is_decoder(source: ModelSource | PassSource) -> TypeIs[ModelSource]:
    """Whether a source is of a model that generates, not of one that runs in one pass."""
    return isinstance(source.config, ModelConfig)


class Transform:
    """One change to how a model runs, in the hooks that a session is built through."""

    output_class: ClassVar[OutputClass] = "exact"
    tasks: ClassVar[tuple[Task, ...]] = ("generate",)  # that it is a change of

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

    def transform_module(self, module: nn.Module, build: Build) -> nn.Module:
        """Change the module of a pass."""
        return module

    def transform_pass(self, call: Pass, build: Build) -> Pass:
        """Wrap the call of a pass."""
        return call


def build_session(build: Build, transforms: Sequence[Transform] = ()) -> Session:
    """Build the model under transforms, bottom first; none gives the plain backend."""
    return session_over(load_model(build, transforms), build)


def build_pass_session(build: Build, transforms: Sequence[Transform] = ()) -> PassSession:
    """Build a model of one pass under transforms, bottom first; none gives transformers' own."""
    for transform in transforms:
        transform.configure(build)
    source = cast(PassSource, build.source)
    module: nn.Module = load_pass(source, dtype=build.dtype, device=build.device)
    for transform in transforms:
        module = transform.transform_module(module, build)
    call: Pass = module
    for transform in transforms:
        call = transform.transform_pass(call, build)
    gives_logits = source.config.outputs > 0
    return PassSession(call, module, build.device, gives_logits=gives_logits)


def load_model(build: Build, transforms: Sequence[Transform] = ()) -> Any:
    """The decoder under transforms, or the model of transformers: what sessions are made over."""
    build.transforms = tuple(transforms)
    for transform in transforms:
        transform.configure(build)
    device = str(build.device)
    if build.backend == "transformers":
        return load_transformers(build.decoder, dtype=build.dtype, device=device)
    decoder = load_decoder(build.decoder, dtype=build.dtype, device=device, max_len=build.max_len)
    for transform in transforms:
        decoder = transform.transform_model(decoder, build)
    return decoder


def session_over(model: Any, build: Build) -> Session:
    """A session over what `load_model` gave for this build, with caches of its own."""
    session = _plain_session(model, build)
    for transform in build.transforms:
        session = transform.transform_session(session, build)
    return session


def _plain_session(model: Any, build: Build) -> Session:
    if build.backend == "transformers":
        return TransformersSession(model, build.sampling, build.device)
    steps: Steps = DecoderSteps(model, build.workload.batch_size, build.cache_len)
    for transform in build.transforms:
        steps = transform.transform_steps(steps, build)
    return DecoderSession(steps, build.sampling, build.device)
