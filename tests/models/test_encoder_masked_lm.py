"""Masked-language logits, loss and gradients against transformers'."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from topout.models.source import resolve_encoder
from topout.models.trainable import load_trainable

from .tiny_encoders import (
    BERT,
    DISTILBERT,
    FAMILIES,
    ROBERTA,
    Fields,
    make_batch,
    max_error,
    reference_inputs,
    write_reference,
)

TOLERANCE = 1e-4
CONFIGS = FAMILIES | {
    "bert_untied_relu": BERT | {"tie_word_embeddings": False, "hidden_act": "relu"},
    "roberta_relu": ROBERTA | {"hidden_act": "relu"},  # its head stays with gelu
    "roberta_untied": ROBERTA | {"tie_word_embeddings": False},
    "distilbert_untied": DISTILBERT | {"tie_word_embeddings": False},
}


def make_labels(tokens: Tensor, mask: Tensor) -> Tensor:
    labels = tokens.roll(1, 1)
    labels[:, ::2] = -100
    labels[~mask] = -100
    return labels


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_loss_and_gradients_agree(name: str, tmp_path: Path) -> None:
    fields: Fields = CONFIGS[name]
    reference = write_reference(tmp_path, fields, "ForMaskedLM")
    model = load_trainable(resolve_encoder(str(tmp_path)), "lm", dropout=False)
    assert model.training and model.new_parts == []
    tokens, mask, _ = make_batch(fields, 3, 12)
    labels = make_labels(tokens, mask)
    theirs = reference(**reference_inputs(tokens, mask, {}), labels=labels)
    loss, logits = model(tokens, mask, labels)
    assert loss is not None
    assert max_error(logits, theirs.logits) <= TOLERANCE
    assert max_error(loss, theirs.loss) <= TOLERANCE
    theirs.loss.backward()
    loss.backward()
    embedding = reference.base_model.embeddings.word_embeddings.weight.grad
    ours = model.backbone.token_embedding.weight.grad
    assert max_error(ours, embedding) <= TOLERANCE
    assert all(parameter.grad is not None for parameter in model.parameters())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    spare = 0 if fields.get("tie_word_embeddings", True) or "dist" in name else 97
    assert parameters == sum(p.numel() for p in reference.parameters()) - spare


def test_a_head_of_no_checkpoint_is_named(tmp_path: Path) -> None:
    write_reference(tmp_path, BERT)
    model = load_trainable(resolve_encoder(str(tmp_path)), "lm")
    assert model.new_parts == ["masked_head"]
    assert model.head.weight is model.backbone.token_embedding.weight
    assert not model.head.bias.any()
    tokens, mask, _ = make_batch(BERT, 2, 8)
    loss, logits = model(tokens, mask)
    assert loss is None and torch.isfinite(logits).all()


def test_labels_that_are_all_left_out_give_no_number(tmp_path: Path) -> None:
    write_reference(tmp_path, BERT)
    model = load_trainable(resolve_encoder(str(tmp_path)), "lm")
    tokens, mask, _ = make_batch(BERT, 2, 8)
    loss, _ = model(tokens, mask, torch.full_like(tokens, -100))
    assert torch.isnan(loss)
