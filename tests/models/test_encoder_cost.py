"""What is counted while the encoder runs, against the formulas for the same config."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from topout.cost.graph import count
from topout.cost.passes import full_pass_flops, full_pass_ops
from topout.models.architecture import total_parameters
from topout.models.architectures.read import read_architecture
from topout.models.encoder import Encoder
from topout.models.encoder_config import EncoderConfig
from topout.models.known import known_config_json
from topout.models.trainable_models import MaskedLanguageModel, SequenceClassifier, needs_pooler
from topout.records.count import Count

from .tiny_encoders import BERT, DISTILBERT, FAMILIES, PREFIXES, Fields

TASKS = ["Model", "ForMaskedLM", "ForSequenceClassification"]


def build(fields: Fields, task: str) -> nn.Module:
    """Our module of the class that the fields name, on the meta device."""
    config = EncoderConfig.from_hugging_face(fields, "tiny")
    with torch.device("meta"):
        if task == "Model":
            return Encoder(config).eval()
        if task == "ForMaskedLM":
            return MaskedLanguageModel(config).eval()
        encoder = Encoder(config, pooler=needs_pooler(config))
        return SequenceClassifier(encoder, config.labels).eval()


def run(module: nn.Module, batch_size: int, length: int, **inputs: Any) -> Count:
    tokens = torch.zeros(batch_size, length, dtype=torch.int64, device="meta")
    result = count(module, tokens, **inputs)
    assert result.complete and result.not_counted == []
    return result


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("masked", [False, True])
def test_flops_and_parameters(name: str, task: str, masked: bool) -> None:
    fields = FAMILIES[name] | {"num_labels": 3, "architectures": [PREFIXES[name] + task]}
    architecture = read_architecture(fields, "tiny")
    assert architecture.counted_as == PREFIXES[name] + task
    module = build(fields, task)
    mask = torch.ones(3, 17, dtype=torch.bool, device="meta") if masked else None
    result = run(module, 3, 17, mask=mask)
    assert result.total.flops == full_pass_flops(architecture, 3, 17)["product"]
    assert sum(p.numel() for p in module.parameters()) == total_parameters(architecture)


@settings(max_examples=20, deadline=None)
@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 4),
    head_size=st.integers(1, 16),
    mlp_width=st.integers(1, 60),
    batch_size=st.integers(1, 4),
    length=st.integers(1, 32),
)
def test_any_shape(
    layers: int, heads: int, head_size: int, mlp_width: int, batch_size: int, length: int
) -> None:
    fields = BERT | {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": heads * head_size,
        "intermediate_size": mlp_width,
    }
    result = run(build(fields, "Model"), batch_size, length)
    architecture = read_architecture(fields, "tiny")
    assert result.total.flops == full_pass_flops(architecture, batch_size, length)["product"]


def test_the_modules_have_the_flops_of_the_ops() -> None:
    result = run(build(BERT, "Model"), 2, 10)
    modules = {module.name: module for module in result.modules}
    ops = {op.name: op for op in full_pass_ops(read_architecture(BERT, "tiny"), 2, 10)}
    names = {
        "attention.qkv": "qkv",
        "attention.output": "attention_out",
        "mlp.up": "mlp_up",
        "mlp.down": "mlp_down",
    }
    for layer in range(2):
        for ours, op in names.items():
            flops = modules[f"blocks.{layer}.{ours}"].inclusive["forward"].flops
            assert flops == ops[op].flops / 2
    attention = modules["blocks.0.attention"]
    assert attention.exclusive["forward"].flops == ops["attention"].flops / 2
    assert modules["pooler"].inclusive["forward"].flops == ops["pooler"].flops


def test_bert_base_by_hand() -> None:
    fields = known_config_json("bert-base-uncased")
    module = build(fields, "Model")
    assert sum(p.numel() for p in module.parameters()) == 109_482_240
    # 12 layers of 4·768² + 2·768·3072 weights for 128 tokens, 4·128²·768 of attention; a pooler.
    weights = 12 * (4 * 768**2 + 2 * 768 * 3072)
    attention = 12 * 4 * 128**2 * 768
    flops = 2 * 128 * weights + attention + 2 * 768**2
    assert run(module, 1, 128).total.flops == flops == 22_348_431_360


def test_another_config_has_another_count() -> None:
    wider = build(DISTILBERT | {"hidden_dim": 101}, "Model")
    formula = full_pass_flops(read_architecture(DISTILBERT, "tiny"), 1, 8)["product"]
    assert run(wider, 1, 8).total.flops != formula
