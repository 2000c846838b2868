from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError, TopoutError, UnsupportedError
from topout.models.encoder_config import EncoderConfig, EncoderDropout, without_dropout
from topout.models.known import known_config_json, known_encoder_names

from .tiny_encoders import BERT, DISTILBERT, ROBERTA, Fields


def read(fields: Fields) -> EncoderConfig:
    return EncoderConfig.from_hugging_face(fields, "tiny")


def test_bert() -> None:
    config = read(BERT)
    assert (config.name, config.family, config.layers, config.width) == ("tiny", "bert", 2, 48)
    assert (config.heads, config.head_size, config.mlp_width) == (4, 12, 100)
    assert (config.vocab_size, config.context_len, config.pad_id) == (97, 32, 0)
    assert (config.norm_eps, config.activation, config.pools) == (1e-12, "gelu", True)
    assert (config.table_rows("positions"), config.table_rows("token_types")) == (32, 3)
    assert not config.positions_follow_padding
    assert (config.labels, config.stores_classifier, config.tied_head) == (2, True, True)


def test_roberta_counts_positions_from_behind_the_padding() -> None:
    config = read(ROBERTA)
    assert (config.context_len, config.table_rows("positions"), config.pad_id) == (32, 34, 1)
    assert config.positions_follow_padding and config.pools


def test_distilbert_has_neither_token_types_nor_a_pooler() -> None:
    config = read(DISTILBERT)
    assert (config.table_rows("token_types"), config.pools, config.norm_eps) == (0, False, 1e-12)


@pytest.mark.parametrize("name", known_encoder_names())
def test_every_known_encoder_is_read(name: str) -> None:
    config = EncoderConfig.from_hugging_face(known_config_json(name), name)
    assert config.context_len == 512
    assert config.head_size == 64


def test_dropout_rates() -> None:
    bert = read(BERT | {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0})
    assert bert.dropout == EncoderDropout(
        embedding=0.2, attention=0.0, attention_output=0.2, mlp_output=0.2, classifier=0.2
    )
    assert read(BERT | {"classifier_dropout": 0.3}).dropout.classifier == 0.3
    assert read(DISTILBERT).dropout == EncoderDropout(
        embedding=0.1, attention=0.1, attention_output=0.0, mlp_output=0.1, classifier=0.2
    )
    none = without_dropout(bert).dropout
    assert {getattr(none, name) for name in none.__struct_fields__} == {0.0}


@pytest.mark.parametrize("rate", [1, 1.0, -0.1, "0.1", True, float("nan"), []])
def test_a_rate_that_is_none(rate: Any) -> None:
    with pytest.raises(InputError, match=r"`hidden_dropout_prob` is .*from 0 to below 1"):
        read(BERT | {"hidden_dropout_prob": rate})


def test_the_stated_class_does_not_change_the_encoder() -> None:
    bare = read(BERT)
    masked = read(BERT | {"architectures": ["BertForMaskedLM"]})
    assert masked.architecture == bare.architecture
    assert not masked.stores_classifier
    classes = ["BertForSequenceClassification"]
    assert read(BERT | {"architectures": classes, "num_labels": 5}).labels == 5
    assert read(BERT | {"architectures": classes}).stores_classifier


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "gpt2"}, "'gpt2' is not supported as an encoder"),
        (BERT | {"quantization_config": {"bits": 4}}, "stored quantized"),
        (BERT | {"position_embedding_type": "relative_key"}, "'relative_key' is not supported"),
        (BERT | {"is_decoder": True}, "`is_decoder` is not supported"),
        (BERT | {"hidden_act": "tanh"}, "activation 'tanh' is not supported"),
    ],
)
def test_what_is_not_supported(fields: Fields, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        read(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pad_token_id": 97}, "`pad_token_id` is 97, .* below the vocabulary's size 97"),
        ({"pad_token_id": -1}, "`pad_token_id` is -1"),
        ({"layer_norm_eps": 0}, "`layer_norm_eps` is 0"),
        ({"hidden_size": None}, "`hidden_size` is missing"),
        ({"num_attention_heads": 5}, "5 heads do not divide the width 48"),
        ({"tie_word_embeddings": 1}, "`tie_word_embeddings` is 1"),
    ],
)
def test_a_wrong_field_is_named(change: Fields, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(BERT | change)


@given(
    key=st.sampled_from(sorted({*BERT, *ROBERTA, "hidden_act", "id2label", "hidden_dropout_prob"})),
    value=st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=4)
    | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=2), st.integers()),
)  # fmt: skip
def test_any_value_of_a_field_is_read_or_refused(key: str, value: Any) -> None:
    try:
        config = read(ROBERTA | {key: value})
    except TopoutError as error:
        assert error.remedy
    else:
        assert config.context_len >= 1 and (config.pad_id or 0) < config.vocab_size
