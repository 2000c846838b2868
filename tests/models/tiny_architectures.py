"""Tiny configs of every family that is counted, and the class of transformers that they describe.

Only what sets the size is stated, so that the defaults are transformers' own.
"""

from copy import deepcopy  # transformers writes defaults into nested fields
from typing import Any

import torch
import transformers
from transformers import AutoConfig

from topout.models.architecture import Architecture
from topout.models.architectures.read import read_architecture

from . import tiny

Fields = dict[str, Any]

_SIZES: Fields = {
    "hidden_size": 64,
    "intermediate_size": 144,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 199,
}
_GROUPED = _SIZES | {"num_key_value_heads": 2}
_MOE = _GROUPED | {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
BERT = _SIZES | {"model_type": "bert"}
ROBERTA = _SIZES | {"model_type": "roberta"}
DISTILBERT: Fields = {
    "model_type": "distilbert",
    "dim": 64,
    "hidden_dim": 144,
    "n_layers": 3,
    "n_heads": 4,
    "vocab_size": 199,
}
GEMMA = _GROUPED | {"model_type": "gemma"}
GEMMA2 = _GROUPED | {"model_type": "gemma2", "head_dim": 24}
GEMMA3 = _GROUPED | {"model_type": "gemma3_text", "num_hidden_layers": 8, "sliding_window": 5}
MIXTRAL = _GROUPED | {"model_type": "mixtral", "num_local_experts": 5}
QWEN2_MOE = _MOE | {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 56}
QWEN3_MOE = _MOE | {"model_type": "qwen3_moe", "head_dim": 24}
T5: Fields = {
    "model_type": "t5",
    "d_model": 64,
    "d_ff": 144,
    "num_heads": 3,
    "num_layers": 2,
    "vocab_size": 199,
}
VIT = {key: value for key, value in _SIZES.items() if key != "vocab_size"} | {
    "model_type": "vit",
    "image_size": 64,
}
RESNET: Fields = {"model_type": "resnet", "hidden_sizes": [16, 24, 40], "depths": [1, 3, 2]}

FAMILIES: dict[str, Fields] = {
    "gpt2": tiny.GPT2,
    "llama": tiny.GROUPED,
    "mistral": tiny.MISTRAL,
    "qwen2": tiny.QWEN2,
    "qwen3": tiny.QWEN3,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "mixtral": MIXTRAL,
    "qwen2_moe": QWEN2_MOE,
    "qwen3_moe": QWEN3_MOE,
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA | {"model_type": "xlm-roberta"},
    "distilbert": DISTILBERT,
    "t5": T5,
    "vit": VIT,
    "resnet": RESNET,
}


def read(fields: Fields) -> Architecture:
    """The architecture that `fields` describe, named "tiny"."""
    return read_architecture(fields, "tiny")


def transformers_model(fields: Fields, class_name: str) -> torch.nn.Module:
    """The class of transformers on the meta device: shapes without memory."""
    stated = {key: value for key, value in fields.items() if key != "model_type"}
    config = AutoConfig.for_model(fields["model_type"], **deepcopy(stated))
    with torch.device("meta"):
        return getattr(transformers, class_name)(config)


def transformers_parameters(fields: Fields, class_name: str) -> int:
    """The parameters of the class of transformers, tied ones once."""
    return sum(p.numel() for p in transformers_model(fields, class_name).parameters())
