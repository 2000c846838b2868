"""A model of transformers that is in memory, as a source: its weights are taken, not copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from topout.errors import InputError, UnsupportedError
from topout.models.checkpoint import (
    StoredTensor,
    check_tensors,
    decoder_recipes,
    expected_tensors,
    is_ignored,
    refuse_names,
)
from topout.models.config import ARCHITECTURES, ModelConfig
from topout.models.decoder import Decoder
from topout.models.source import IN_MEMORY, ModelSource
from topout.models.text import Tokenizer, TrainedTokenizer
from topout.records import Dtype

DTYPES: dict[torch.dtype, Dtype] = {torch.float32: "fp32", torch.bfloat16: "bf16"}
_CODES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def source_in_memory(model: Any) -> ModelSource:
    """The source of a causal language model of transformers, over its own tensors.

    Raises InputError in training mode, UnsupportedError for another class, for weights on several
    devices or in a type that is not run, WeightsError for tensors that its config does not ask for,
    such as those of an adapter.
    """
    name = _name_of(model)
    config_json: dict[str, Any] = model.config.to_dict()
    config = ModelConfig.from_hugging_face(config_json, name)
    if model.training:
        raise InputError(f"{name} is in training mode.", "Call model.eval() first.")
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if ends is not None:
        config_json["eos_token_id"] = ends
    tensors = {
        each: tensor for each, tensor in model.state_dict().items() if not is_ignored(each, config)
    }
    expected = expected_tensors(config)
    refuse_names(Path(name), expected.keys() - tensors.keys(), tensors.keys() - expected.keys())
    _check_types(name, tensors)
    stored = {
        each: StoredTensor(each, Path(name), _CODES[tensor.dtype], tuple(tensor.shape))
        for each, tensor in tensors.items()
    }
    check_tensors(stored, expected)
    return ModelSource(
        name=name,
        folder=None,
        config=config,
        config_json=config_json,
        origin="trained",
        tensors=stored,
        weights_dtype=DTYPES[next(iter(tensors.values())).dtype],
        tokenizer_path=None,
        seed=0,
        fingerprint=IN_MEMORY,
        memory=tensors,
    )


def _name_of(model: Any) -> str:
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if not isinstance(model, nn.Module) or kind not in ARCHITECTURES:
        raise UnsupportedError(
            f"{type(model).__name__} is no decoder of transformers that topout runs.",
            f"Give a causal language model: {', '.join(ARCHITECTURES)}.",
        )
    if not hasattr(model, "lm_head"):
        raise UnsupportedError(
            f"{type(model).__name__} has no head that gives tokens.",
            "Give the causal language model, AutoModelForCausalLM.",
        )
    path = getattr(model, "name_or_path", "") or type(model).__name__
    return path.rstrip("/").rpartition("/")[2]


def _check_types(name: str, tensors: Mapping[str, Tensor]) -> None:
    devices = {tensor.device for tensor in tensors.values()}
    types = {tensor.dtype for tensor in tensors.values()}
    if len(devices) > 1 or {device.type for device in devices} - {"cpu", "cuda"}:
        places = ", ".join(sorted(map(str, devices)))
        raise UnsupportedError(f"{name} lies on {places}.", "Move it to one CPU or GPU.")
    if len(types) > 1 or types - DTYPES.keys():
        found = ", ".join(sorted(map(str, types)))
        raise UnsupportedError(
            f"{name} holds weights in {found}.", "Convert it: model.float() or model.bfloat16()."
        )


def share_weights(model: nn.Module, decoder: Decoder, source: ModelSource) -> None:
    """Let the model's parameters be views of the decoder's, so that no weight is there twice.

    Joined and transposed matrices were copied when they were loaded; what they were made of is let
    go. Where a rung has put others in their place, the model keeps its own.
    """
    with torch.no_grad():
        for name, recipe in decoder_recipes(source.config).items():
            try:
                ours = decoder.get_parameter(name)
            except AttributeError:
                continue  # swapped for a layer with weights of its own
            begin = 0
            for theirs, shape in recipe.sources.items():
                rows = shape[1] if recipe.transposed else shape[0]
                piece = ours[begin : begin + rows]
                begin += rows
                parameter = model.get_parameter(theirs)
                if parameter.dtype == piece.dtype:
                    parameter.data = piece.t() if recipe.transposed else piece
    assert isinstance(source.memory, dict)
    for name in source.memory:  # which would hold what was let go
        source.memory[name] = model.get_parameter(name).detach()


def wrapped_tokenizer(tokenizer: Any, source: ModelSource) -> Tokenizer | None:
    """A fast tokenizer of transformers as ours; raises UnsupportedError for another."""
    if tokenizer is None:
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedError(
            f"{type(tokenizer).__name__} is no fast tokenizer of transformers.",
            "Give one, or token ids alone.",
        )
    return TrainedTokenizer(backend, source)
