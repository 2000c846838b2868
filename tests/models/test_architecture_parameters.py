"""Parameters by part against transformers' own classes, hand counts and how they grow."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.models.architecture import (
    PARTS,
    Architecture,
    active_parameters,
    block_parameters,
    parameters_by_part,
    total_parameters,
)
from topout.models.architectures.read import MODEL_TYPES

from .tiny_architectures import (
    BERT,
    DISTILBERT,
    FAMILIES,
    GEMMA3,
    MIXTRAL,
    QWEN2_MOE,
    QWEN3_MOE,
    RESNET,
    ROBERTA,
    T5,
    VIT,
    read,
    transformers_model,
    transformers_parameters,
)

Fields = dict[str, Any]
FEW = settings(max_examples=6, deadline=None)


def named(fields: Fields, class_name: str, **others: object) -> Fields:
    return fields | {"architectures": [class_name]} | others


def test_every_family_has_a_tiny_model() -> None:
    # Gopher is no type of transformers: test_known_today.
    assert set(FAMILIES) | {"gemma3", "gopher"} == set(MODEL_TYPES)


VARIANTS = [
    T5 | {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3, "d_kv": 20},
    T5 | {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 8},
    QWEN2_MOE | {"mlp_only_layers": [1], "qkv_bias": False},
    QWEN3_MOE | {"decoder_sparse_step": 2, "attention_bias": True},
    QWEN3_MOE | {"tie_word_embeddings": True},
    MIXTRAL | {"head_dim": 20, "num_key_value_heads": 4},
    GEMMA3 | {"attention_bias": True, "tie_word_embeddings": False, "sliding_window_pattern": 3},
    VIT | {"qkv_bias": False, "num_labels": 7, "patch_size": 32, "num_channels": 1},
    VIT | {"image_size": [64, 96], "id2label": {"0": "a", "1": "b", "2": "c"}},
    RESNET | {"layer_type": "basic", "embedding_size": 16, "num_labels": 10},
    RESNET | {"downsample_in_first_stage": True, "downsample_in_bottleneck": True},
    named(DISTILBERT, "DistilBertForMaskedLM", sinusoidal_pos_embds=True),
    named(DISTILBERT, "DistilBertForSequenceClassification", num_labels=5),
    named(DISTILBERT, "DistilBertForTokenClassification", num_labels=5),
    named(DISTILBERT, "DistilBertForQuestionAnswering"),
    named(DISTILBERT, "DistilBertForMultipleChoice"),
    named(ROBERTA, "RobertaForMaskedLM", type_vocab_size=1, max_position_embeddings=66),
    named(ROBERTA, "RobertaForSequenceClassification"),
    named(ROBERTA, "RobertaForMultipleChoice"),
    named(BERT, "BertForMaskedLM"),
    named(BERT, "BertForPreTraining"),
    named(BERT, "BertForNextSentencePrediction"),
    named(BERT, "BertForSequenceClassification", num_labels=3),
    named(BERT, "BertForMultipleChoice"),
    named(BERT, "BertForTokenClassification", num_labels=9),
    named(BERT, "BertForQuestionAnswering"),
    named(T5, "T5EncoderModel"),
    named(VIT, "ViTModel", pooler_output_size=24),
    named(RESNET, "ResNetModel"),
]


@pytest.mark.parametrize("fields", [*FAMILIES.values(), *VARIANTS])
def test_parameters_are_those_of_transformers(fields: Fields) -> None:
    architecture = read(fields)
    stated = fields.get("architectures")
    assert stated is None or stated == [architecture.counted_as]
    assert total_parameters(architecture) == transformers_parameters(
        fields, architecture.counted_as
    )


def test_the_check_notices_a_wrong_count() -> None:
    wrong = msgspec.structs.replace(read(BERT), final_norms=1)
    assert total_parameters(wrong) != transformers_parameters(BERT, "BertModel")


def test_a_head_of_its_own_is_counted_in_t5_version_1_1() -> None:
    # Built from a config, transformers' class ties the head whatever the config says; from the
    # published checkpoints, which hold another head than table, it keeps the two apart.
    fields = T5 | {"tie_word_embeddings": False}
    built = transformers_parameters(fields, "T5ForConditionalGeneration")
    assert total_parameters(read(fields)) == built + 199 * 64


def test_an_untied_masked_head_says_what_it_leaves_out() -> None:
    fields = named(BERT, "BertForMaskedLM", tie_word_embeddings=False)
    architecture = read(fields)
    assert any("second copy" in sentence for sentence in architecture.not_counted)
    built = transformers_parameters(fields, "BertForMaskedLM")
    assert total_parameters(architecture) == built - 199  # one bias per token of the vocabulary


def test_a_seeing_gemma_3_is_counted_as_its_decoder() -> None:
    text = {key: value for key, value in GEMMA3.items() if key != "vocab_size"}
    fields = {"model_type": "gemma3", "text_config": text, "vision_config": {}}
    architecture = read(fields)
    # 262208 tokens are what transformers takes where the text part states no vocabulary.
    assert architecture.vocab_size == 262208
    built = transformers_parameters(GEMMA3 | {"vocab_size": 262208}, "Gemma3ForCausalLM")
    assert total_parameters(architecture) == built
    assert "vision" in architecture.not_counted[0]


def test_parts_of_a_mixture() -> None:
    # Width 64, 4 heads of 16 with 2 for keys and values, 3 layers, 5 experts of 144, 199 tokens.
    parts = parameters_by_part(read(MIXTRAL))
    assert parts == {
        "embedding": 199 * 64,
        "attention": 3 * (64 * 64 + 2 * 64 * 32 + 64 * 64),
        "mlp": 3 * 5 * 3 * 64 * 144,
        "router": 3 * 64 * 5,
        "norms": 3 * 2 * 64 + 64,
        "head": 199 * 64,
    }
    # Two of the five experts see a token.
    assert active_parameters(read(MIXTRAL)) == sum(parts.values()) - 3 * 3 * 3 * 64 * 144


def test_a_shared_expert_is_always_active() -> None:
    # 3 layers of 6 experts of 40, of which 2 are chosen, and one of 56 with a gate of one output.
    architecture = read(QWEN2_MOE)
    parts = parameters_by_part(architecture)
    assert parts["mlp"] == 3 * (6 * 3 * 64 * 40 + 3 * 64 * 56)
    assert parts["router"] == 3 * (64 * 6 + 64)
    idle = 3 * 4 * 3 * 64 * 40
    assert active_parameters(architecture) == total_parameters(architecture) - idle


def test_parts_of_an_encoder_and_decoder() -> None:
    # Width 64, 3 heads of 64, MLP 144, 2 blocks a side, 199 tokens, 32 buckets of distance.
    parts = parameters_by_part(read(T5))
    attention = 4 * 64 * 192
    assert parts == {
        "embedding": 199 * 64,
        "positions": 2 * 32 * 3,  # in the first block of each side
        "attention": 4 * attention,
        "cross_attention": 2 * attention,
        "mlp": 4 * 2 * 64 * 144,
        "norms": 2 * 2 * 64 + 2 * 3 * 64 + 2 * 64,
    }


def test_buffers_of_batch_norms_are_no_parameters() -> None:
    parts = parameters_by_part(read(RESNET))
    model = transformers_model(RESNET, "ResNetForImageClassification")
    norms = [module for module in model.modules() if "BatchNorm" in type(module).__name__]
    assert parts["norms"] == sum(2 * norm.num_features for norm in norms)  # weight and bias
    assert parts["head"] == 40 * 2 + 2


@pytest.mark.parametrize("fields", FAMILIES.values())
def test_parts_are_in_order_and_sum_to_the_total(fields: Fields) -> None:
    architecture = read(fields)
    parts = parameters_by_part(architecture)
    assert list(parts) == [part for part in PARTS if part in parts]
    assert all(parts.values())
    assert sum(parts.values()) == total_parameters(architecture)
    assert active_parameters(architecture) <= total_parameters(architecture)


@given(
    name=st.sampled_from([name for name in FAMILIES if name != "resnet"]), more=st.integers(1, 9)
)
def test_parameters_grow_linearly_with_the_blocks(name: str, more: int) -> None:
    def with_blocks(architecture: Architecture, extra: int) -> Architecture:
        first, *rest = architecture.blocks
        longer = msgspec.structs.replace(first, count=first.count + extra)
        return msgspec.structs.replace(architecture, blocks=[longer, *rest])

    architecture = read(FAMILIES[name])
    grown = total_parameters(with_blocks(architecture, more)) - total_parameters(architecture)
    assert grown == more * sum(block_parameters(architecture.blocks[0]).values())


@given(
    name=st.sampled_from(
        ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "mixtral"]
    ),
    head_size=st.sampled_from([2, 6, 16]),
    kv_heads=st.sampled_from([1, 2, 3]),
    group=st.integers(1, 3),
    layers=st.integers(1, 7),
    mlp_width=st.integers(1, 50),
    tied=st.booleans(),
)
@FEW
def test_random_decoders_are_those_of_transformers(
    name: str, head_size: int, kv_heads: int, group: int, layers: int, mlp_width: int, tied: bool
) -> None:
    fields = FAMILIES[name] | {
        "hidden_size": kv_heads * group * head_size,
        "head_dim": head_size,
        "num_attention_heads": kv_heads * group,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": layers,
        "intermediate_size": mlp_width,
        "tie_word_embeddings": tied,
    }
    architecture = read(fields)
    assert sum(block.count for block in architecture.blocks) == layers
    assert total_parameters(architecture) == transformers_parameters(
        fields, architecture.counted_as
    )


@given(
    name=st.sampled_from(["bert", "roberta", "vit"]),
    head_size=st.integers(1, 20),
    heads=st.integers(1, 5),
    layers=st.integers(1, 5),
    mlp_width=st.integers(1, 50),
)
@FEW
def test_random_encoders_are_those_of_transformers(
    name: str, head_size: int, heads: int, layers: int, mlp_width: int
) -> None:
    fields = FAMILIES[name] | {
        "hidden_size": head_size * heads,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "intermediate_size": mlp_width,
    }
    architecture = read(fields)
    assert total_parameters(architecture) == transformers_parameters(
        fields, architecture.counted_as
    )


@given(
    quarters=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    depth=st.integers(1, 3),
    basic=st.booleans(),
    channels=st.integers(1, 40),
)
@FEW
def test_random_resnets_are_those_of_transformers(
    quarters: list[int], depth: int, basic: bool, channels: int
) -> None:
    fields = {
        "model_type": "resnet",
        "hidden_sizes": [4 * quarter for quarter in quarters],
        "depths": [depth] * len(quarters),
        "layer_type": "basic" if basic else "bottleneck",
        "embedding_size": channels,
    }
    architecture = read(fields)
    assert total_parameters(architecture) == transformers_parameters(
        fields, architecture.counted_as
    )
