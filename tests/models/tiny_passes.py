"""Tiny models of one pass, encoders and image classifiers, as folders that transformers writes."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig

from .tiny_encoders import BERT, DISTILBERT, ROBERTA, Fields

MODERNBERT: Fields = {
    "model_type": "modernbert",
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 97,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
VIT: Fields = {
    "model_type": "vit",
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 7,
}
RESNET: Fields = {
    "model_type": "resnet",
    "embedding_size": 16,
    "hidden_sizes": [16, 24],
    "depths": [1, 2],
    "layer_type": "basic",
    "num_labels": 7,
}
CONVNEXT: Fields = {
    "model_type": "convnext",
    "hidden_sizes": [16, 24],
    "depths": [1, 2],
    "num_stages": 2,
    "image_size": 32,
    "num_labels": 7,
}
# By what they are: the fields, the class of transformers, and the shape of its output.
PASSES: dict[str, tuple[Fields, str, tuple[int, ...]]] = {
    "bert": (BERT, "BertModel", (2, 9, 48)),
    "bert_labels": (BERT | {"num_labels": 3}, "BertForSequenceClassification", (2, 3)),
    "roberta_words": (ROBERTA, "RobertaForMaskedLM", (2, 9, 97)),
    "bert_two_heads": (BERT, "BertForPreTraining", (2, 9, 97)),
    "bert_answers": (BERT, "BertForQuestionAnswering", (2, 9, 2)),
    "distilbert": (DISTILBERT, "DistilBertForTokenClassification", (2, 9, 2)),
    "electra": (BERT | {"model_type": "electra", "embedding_size": 32}, "ElectraModel", (2, 9, 48)),
    "deberta": (BERT | {"model_type": "deberta-v2"}, "DebertaV2Model", (2, 9, 48)),
    "modernbert": (MODERNBERT, "ModernBertForMaskedLM", (2, 9, 97)),
    "vit": (VIT, "ViTForImageClassification", (2, 7)),
    "resnet": (RESNET, "ResNetForImageClassification", (2, 7)),
    "convnext": (CONVNEXT, "ConvNextForImageClassification", (2, 7)),
}


# Runs only once a language is chosen.
REFUSED: dict[str, tuple[Fields, str]] = {
    "xmod": (ROBERTA | {"model_type": "xmod", "languages": ["en_XX", "de_DE"]}, "XmodModel"),
}


def write_pass(folder: Path, name: str, seed: int = 0) -> Any:
    """transformers' model in eval mode with large weights, and a folder that holds it."""
    fields, class_name, *_ = PASSES.get(name) or REFUSED[name]
    stated = {key: value for key, value in fields.items() if key != "model_type"}
    config = AutoConfig.for_model(fields["model_type"], **stated)
    model = getattr(transformers, class_name)(config)
    generator = torch.Generator().manual_seed(seed)
    for each, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm_weight = parameter.dim() == 1 and each.endswith("weight")
        parameter.data = 1 + 0.2 * noise if is_norm_weight else 0.15 * noise
    model.tie_weights()
    model.eval().save_pretrained(folder)
    return model


def pass_input(name: str, batch_size: int = 2, size: int = 32) -> torch.Tensor:
    """Token ids [B, 9], or images."""
    generator = torch.Generator().manual_seed(1)
    if name in ("vit", "resnet", "convnext"):
        return torch.randn(batch_size, 3, size, size, generator=generator)
    return torch.randint(3, 97, (batch_size, 9), generator=generator)
