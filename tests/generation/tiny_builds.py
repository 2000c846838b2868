"""Sessions over tiny models with decided logits, built as a worker builds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from tests.models.tiny import GPT2, GROUPED, Fields, make_source
from topout.generation.build import TORCH_DTYPES, Build, build_session
from topout.generation.session import Session
from topout.models.source import ModelSource
from topout.records import WorkloadSummary
from topout.rungs.registry import find_rung

# Room for a few hundred tokens; 4 heads, the second one with 2 key/value heads.
LONG_GPT2: Fields = GPT2 | {"n_positions": 256, "n_layer": 2}
LONG_LLAMA: Fields = GROUPED | {"max_position_embeddings": 256}
MODELS: dict[str, Fields] = {"gpt2": LONG_GPT2, "llama": LONG_LLAMA}

WORKLOAD = WorkloadSummary(
    task="generate",
    prompt_len=20,
    new_tokens=24,
    batch_size=1,
    threads=1,
    device="cpu",
    dtype="fp32",
    temperature=0.0,
)


def workload(**changes: Any) -> WorkloadSummary:
    """WORKLOAD with some fields changed."""
    return msgspec.structs.replace(WORKLOAD, **changes)


def build_of(
    source: ModelSource, folder: Path, *, draft: ModelSource | None = None, **changes: Any
) -> Build:
    """A build over `source`; `changes` are of the workload."""
    asked = workload(**changes)
    return Build(
        source=source,
        workload=asked,
        draft=draft,
        quantized_folder=folder / "quantized",
        dtype=TORCH_DTYPES[asked.dtype],
    )


def session_of(
    source: ModelSource,
    folder: Path,
    stack: Sequence[str],
    *,
    draft: ModelSource | None = None,
    **changes: Any,
) -> Session:
    """A session of a stack of rungs."""
    build = build_of(source, folder, draft=draft, **changes)
    return build_session(build, [find_rung(name) for name in stack])


def source_of(folder: Path, kind: str, seed: int = 0) -> ModelSource:
    """The source of one of MODELS, written to `folder` first."""
    return make_source(folder / f"{kind}-{seed}", MODELS[kind], seed)


def periodic_prompt(vocab_size: int, length: int, period: int = 5) -> Tensor:
    """A prompt [1, length] that repeats itself, so that a lookup finds what to propose."""
    generator = torch.Generator().manual_seed(period)
    word = torch.randint(vocab_size, (period,), generator=generator)
    return word.repeat(length // period + 1)[None, :length]
