"""Model folders small enough to climb in a test, made by the tests."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from topout.models.checkpoint import expected_tensors
from topout.models.config import ModelConfig

SMALL_GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": 64,
    "n_head": 2,
    "n_layer": 2,
    "n_positions": 128,
    "vocab_size": 300,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}


def write_model(folder: Path, config: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """A folder in the Hugging Face layout with weights large enough to give decided logits."""
    config = config or SMALL_GPT2
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    shapes = expected_tensors(ModelConfig.from_hugging_face(config, "small"))
    tensors = {
        name: torch.randn(shape, generator=generator) * 0.3
        if len(shape) > 1
        else torch.ones(shape) * (not name.endswith("bias"))
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder
