"""FLOPs of a training sample, counted by hand."""

import pytest

from tests.models.tiny import GPT2
from topout.errors import UnsupportedError
from topout.train.work import flops_per_sample, trained_architecture

BERT = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}


def test_products_of_a_language_model_cost_three_forward_passes() -> None:
    shape = {"task": "lm", "labels": 0, "sequence_len": 16, "samples": 4, "parameters": 1000}
    found = flops_per_sample(dict(GPT2), "tiny", **shape)  # type: ignore[arg-type]
    # 3 layers of width 48, MLP 192, vocabulary 211; 16 positions, 2 FLOPs a multiply-add.
    linear = 2 * 16 * (3 * (48 * 144 + 48 * 48 + 2 * 48 * 192) + 48 * 211)
    pairs = 16 * 17 // 2
    attention = 3 * 4 * pairs * 48
    products = 3 * linear + 3.5 * attention
    # AdamW: 12 FLOPs a parameter, shared by 4 samples. Norms and the like are a few per cent.
    assert products + 12 * 1000 / 4 < found < 1.08 * products


def test_a_classifier_has_no_language_head() -> None:
    shape = {"labels": 4, "sequence_len": 16, "samples": 4, "parameters": 1000}
    classifier = flops_per_sample(dict(GPT2), "tiny", task="classify", **shape)  # type: ignore[arg-type]
    language = flops_per_sample(dict(GPT2), "tiny", task="lm", **shape)  # type: ignore[arg-type]
    head = 3 * 2 * 16 * 48 * 211
    assert language - classifier == pytest.approx(head - 3 * 2 * 48 * 4)


def test_an_encoder_gets_the_head_of_its_classifier() -> None:
    architecture = trained_architecture(dict(BERT), "bert", "classify", 3)
    assert architecture.counted_as == "BertForSequenceClassification"
    assert [(head.name, head.outputs) for head in architecture.heads] == [
        ("pooler", 32),
        ("classifier", 3),
    ]


def test_a_family_that_is_not_counted_is_refused() -> None:
    with pytest.raises(UnsupportedError):
        trained_architecture({"model_type": "mamba"}, "m", "lm", 0)
