"""Tiny models of every supported kind, as folders in the Hugging Face layout."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from topout.models.checkpoint import expected_tensors
from topout.models.config import ModelConfig
from topout.models.source import ModelSource, resolve_model

Fields = dict[str, Any]

GPT2: Fields = {
    "model_type": "gpt2",
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "vocab_size": 211,
}
LLAMA: Fields = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 144,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 199,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}
GROUPED = LLAMA | {"num_key_value_heads": 2}
MISTRAL = GROUPED | {"model_type": "mistral", "sliding_window": 7}
QWEN2 = GROUPED | {"model_type": "qwen2", "rope_theta": 1e6, "rms_norm_eps": 1e-6}
QWEN3 = GROUPED | {"model_type": "qwen3", "head_dim": 24}


def make_tensors(fields: Fields, seed: int = 0) -> dict[str, Tensor]:
    """Tensors under their Hugging Face names, large and uneven, so that every part matters."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in expected_tensors(ModelConfig.from_hugging_face(fields, "tiny")).items():
        noise = torch.randn(shape, generator=generator)
        is_norm_weight = len(shape) == 1 and name.endswith("weight")
        tensors[name] = 1 + 0.2 * noise if is_norm_weight else 0.15 * noise
    return tensors


def write_model(folder: Path, fields: Fields, seed: int = 0) -> Path:
    """A folder with config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(make_tensors(fields, seed), folder / "model.safetensors")
    return folder


def make_source(folder: Path, fields: Fields, seed: int = 0) -> ModelSource:
    """The resolved source of a folder that is written first."""
    return resolve_model(str(write_model(folder, fields, seed)))


def make_tokens(vocab_size: int, batch_size: int, length: int) -> Tensor:
    """Token ids [batch_size, length], the same on every call."""
    generator = torch.Generator().manual_seed(length)
    return torch.randint(vocab_size, (batch_size, length), generator=generator)
