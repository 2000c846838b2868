"""Tiny encoders of every family, as folders that transformers writes."""

from copy import deepcopy  # transformers writes defaults into nested fields
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig

Fields = dict[str, Any]

BERT: Fields = {
    "model_type": "bert",
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 97,
    "max_position_embeddings": 32,
    "type_vocab_size": 3,
    "pad_token_id": 0,
}
ROBERTA: Fields = BERT | {
    "model_type": "roberta",
    "max_position_embeddings": 34,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-5,
}
DISTILBERT: Fields = {
    "model_type": "distilbert",
    "dim": 48,
    "hidden_dim": 100,
    "n_layers": 2,
    "n_heads": 4,
    "vocab_size": 97,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
FAMILIES: dict[str, Fields] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA | {"model_type": "xlm-roberta"},
    "distilbert": DISTILBERT,
}
PREFIXES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "distilbert": "DistilBert",
    "gpt2": "GPT2",
    "llama": "Llama",
}


def make_reference(fields: Fields, task: str, seed: int = 0) -> Any:
    """transformers' class for a task, in eval mode, with weights large and uneven."""
    stated = {key: value for key, value in fields.items() if key != "model_type"}
    config = AutoConfig.for_model(fields["model_type"], **deepcopy(stated))
    config._attn_implementation = "sdpa"
    model = getattr(transformers, PREFIXES[fields["model_type"]] + task)(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm_weight = parameter.dim() == 1 and name.endswith("weight")
        parameter.data = 1 + 0.2 * noise if is_norm_weight else 0.15 * noise
    model.tie_weights()
    return model.eval()


def write_reference(folder: Path, fields: Fields, task: str = "Model", seed: int = 0) -> Any:
    """The same, and a folder that holds it."""
    model = make_reference(fields, task, seed)
    model.save_pretrained(folder)
    return model


def make_batch(
    fields: Fields, batch_size: int, length: int, *, types: bool = False
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Tokens and mask [B, S] whose rows are padded on the right, all but the first; token types."""
    generator = torch.Generator().manual_seed(length)
    pad_id = fields.get("pad_token_id") or 0
    tokens = torch.randint(3, fields["vocab_size"], (batch_size, length), generator=generator)
    mask = torch.ones(batch_size, length, dtype=torch.bool)
    for row in range(1, batch_size):
        mask[row, max(1, length - 2 * row) :] = False
    tokens[~mask] = pad_id
    kinds = fields.get("type_vocab_size", 1)
    chosen = torch.randint(kinds, tokens.shape, generator=generator)
    return tokens, mask, {"token_types": chosen} if types else {}


def reference_inputs(tokens: Tensor, mask: Tensor | None, types: dict[str, Tensor]) -> Any:
    """The same as keyword arguments of transformers."""
    inputs = {"input_ids": tokens} | {"token_type_ids": each for each in types.values()}
    return inputs if mask is None else inputs | {"attention_mask": mask.long()}


def max_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors of one shape."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).detach().abs().max())
