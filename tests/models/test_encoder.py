"""The encoder's hidden states, its pooler and its gradients against transformers'."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from topout.errors import InputError, UnsupportedError, WeightsError
from topout.models.encoder import Encoder, EncoderOutput
from topout.models.encoder_checkpoint import part_recipes
from topout.models.encoder_config import EncoderConfig, EncoderDropout, without_dropout
from topout.models.known import known_encoder_names
from topout.models.load import load_encoder
from topout.models.source import resolve_encoder, resolve_model, resolve_source

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
CONFIGS: dict[str, Fields] = FAMILIES | {
    "bert_tanh_gelu": BERT | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    "bert_relu_no_padding_token": BERT | {"hidden_act": "relu", "pad_token_id": None},
    "roberta_pads_with_5": ROBERTA | {"pad_token_id": 5, "max_position_embeddings": 38},
    "distilbert_relu": DISTILBERT | {"activation": "relu"},
}


def output_of(encoder: Encoder, *inputs: Tensor | None, **types: Tensor) -> EncoderOutput:
    with torch.inference_mode():
        output: EncoderOutput = encoder(*inputs, **types)
    return output


def reference_output(model: Any, tokens: Tensor, mask: Tensor | None, types: Any) -> EncoderOutput:
    with torch.inference_mode():
        output = model(**reference_inputs(tokens, mask, types))
    return EncoderOutput(output.last_hidden_state, getattr(output, "pooler_output", None))


def assert_equal(ours: EncoderOutput, theirs: EncoderOutput) -> None:
    assert theirs.hidden.std() > 0.2  # not flat, so that agreement means something
    assert max_error(ours.hidden, theirs.hidden) <= TOLERANCE
    assert (ours.pooled is None) == (theirs.pooled is None)
    if ours.pooled is not None and theirs.pooled is not None:
        assert max_error(ours.pooled, theirs.pooled) <= TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
def test_hidden_states_agree_with_transformers(name: str, tmp_path: Path) -> None:
    fields = CONFIGS[name]
    model = write_reference(tmp_path, fields)
    encoder = load_encoder(resolve_encoder(str(tmp_path)))
    has_types = fields["model_type"] != "distilbert"
    for length in (1, 2, 11, 32):  # 32 is the context length
        for types in {False, has_types}:
            tokens, mask, token_types = make_batch(fields, 3, length, types=types)
            for seen in (mask, None):
                assert_equal(
                    output_of(encoder, tokens, seen, **token_types),
                    reference_output(model, tokens, seen, token_types),
                )


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_on_the_left_and_in_between(name: str, tmp_path: Path) -> None:
    fields = FAMILIES[name]
    model = write_reference(tmp_path, fields)
    tokens, _, _ = make_batch(fields, 1, 12)
    tokens = tokens.repeat(2, 1)
    mask = torch.ones_like(tokens)
    mask[0, :4] = 0
    mask[1, 3:6] = 0
    tokens[mask == 0] = fields["pad_token_id"]
    encoder = load_encoder(resolve_encoder(str(tmp_path)))
    assert_equal(output_of(encoder, tokens, mask), reference_output(model, tokens, mask.bool(), {}))


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["bert", "roberta", "distilbert"]),
    layers=st.integers(1, 3),
    heads=st.integers(1, 4),
    head_size=st.integers(1, 20),
    mlp_width=st.integers(1, 70),
    vocab_size=st.integers(8, 120),
    context_len=st.integers(1, 40),
    data=st.data(),
)
def test_any_shape_agrees(
    family: str,
    layers: int,
    heads: int,
    head_size: int,
    mlp_width: int,
    vocab_size: int,
    context_len: int,
    data: st.DataObject,
) -> None:
    length = data.draw(st.integers(1, context_len))
    batch_size = data.draw(st.integers(1, 3))
    extra = {"vocab_size": vocab_size}
    if family == "distilbert":
        sizes = dict(zip(("n_layers", "n_heads", "hidden_dim"), (layers, heads, mlp_width)))
        extra |= sizes | {"dim": heads * head_size, "max_position_embeddings": context_len}
    else:
        extra |= {
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "hidden_size": heads * head_size,
            "intermediate_size": mlp_width,
            "max_position_embeddings": context_len + 2 * (family == "roberta"),
        }
    fields = FAMILIES[family] | extra
    tokens, mask, _ = make_batch(fields, batch_size, length)
    with tempfile.TemporaryDirectory() as folder:
        model = write_reference(Path(folder), fields)
        source = resolve_encoder(folder)
        ours = output_of(load_encoder(source), tokens, mask)
    assert source.config.context_len == context_len
    theirs = reference_output(model, tokens, mask, {})
    assert max_error(ours.hidden, theirs.hidden) <= TOLERANCE


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_gradients_agree_with_transformers(name: str, tmp_path: Path) -> None:
    fields = FAMILIES[name]
    model = write_reference(tmp_path, fields)
    encoder = load_encoder(resolve_encoder(str(tmp_path))).requires_grad_(True)
    tokens, mask, types = make_batch(fields, 3, 9, types=name == "bert")
    # Padding is summed too, so that the gradient of its row is looked at.
    theirs = model(**reference_inputs(tokens, mask, types))
    weights = torch.randn(theirs.last_hidden_state.shape, generator=torch.manual_seed(0))
    (theirs.last_hidden_state * weights).mean().backward()
    (encoder(tokens, mask, **types).hidden * weights).mean().backward()
    named = dict(model.named_parameters(prefix=fields["model_type"]))
    compared = 0
    for ours, recipe in part_recipes(encoder.config, "encoder").items():
        expected = torch.cat([named[source].grad for source in recipe.sources])
        gradient = encoder.get_parameter(ours).grad
        assert gradient is not None
        assert max_error(gradient, expected) <= TOLERANCE * float(expected.abs().max() + 1e-3)
        compared += len(recipe.sources)
    assert compared == len([each for each in named if "pooler" not in each])


# --- what has to be noticed -------------------------------------------------------------------


def error_of(encoder: Encoder, model: Any, fields: Fields) -> float:
    tokens, mask, _ = make_batch(fields, 2, 20)
    theirs = reference_output(model, tokens, mask, {})
    return max_error(output_of(encoder, tokens, mask).hidden, theirs.hidden)


def test_a_perturbed_weight_is_noticed(tmp_path: Path) -> None:
    model = write_reference(tmp_path, BERT)
    encoder = load_encoder(resolve_encoder(str(tmp_path)))
    assert error_of(encoder, model, BERT) <= TOLERANCE
    encoder.blocks[1].mlp.down.weight[3, 5] += 0.5
    assert error_of(encoder, model, BERT) > TOLERANCE


@pytest.mark.parametrize(
    "wrong",
    [{"norm_eps": 1e-2}, {"activation": "gelu_tanh"}, {"positions_follow_padding": False}],
    ids=str,
)
def test_a_wrong_config_is_noticed(wrong: Fields, tmp_path: Path) -> None:
    model = write_reference(tmp_path, ROBERTA)
    source = resolve_encoder(str(tmp_path))
    config = msgspec.structs.replace(source.config, **wrong)
    encoder = load_encoder(dataclasses.replace(source, config=config))
    assert error_of(encoder, model, ROBERTA) > TOLERANCE


def test_the_mask_hides_what_it_covers(tmp_path: Path) -> None:
    write_reference(tmp_path, BERT)
    encoder = load_encoder(resolve_encoder(str(tmp_path)))
    tokens, mask, _ = make_batch(BERT, 2, 10)
    changed = tokens.clone()
    changed[1, -1] = 50
    assert not mask[1, -1]
    first, second = (output_of(encoder, each, mask).hidden[mask] for each in (tokens, changed))
    assert torch.equal(first, second)
    unmasked = [output_of(encoder, each).hidden[mask] for each in (tokens, changed)]
    assert max_error(*unmasked) > TOLERANCE


# --- dropout ----------------------------------------------------------------------------------

RATES = [name for name in EncoderDropout.__struct_fields__ if name != "classifier"]


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_dropout_falls_where_it_does_in_transformers(name: str, tmp_path: Path) -> None:
    # The same seed drops the same elements, when the same tensors are dropped in the same order.
    model = write_reference(tmp_path, FAMILIES[name]).train()
    encoder = load_encoder(resolve_encoder(str(tmp_path))).train()
    tokens, mask, _ = make_batch(FAMILIES[name], 2, 10)
    torch.manual_seed(5)
    theirs = reference_output(model, tokens, mask, {})
    torch.manual_seed(5)
    assert_equal(output_of(encoder, tokens, mask), theirs)
    assert max_error(output_of(encoder, tokens, mask).hidden, theirs.hidden) > 0.1


@pytest.mark.parametrize("rate", RATES)
def test_each_rate_acts_in_training_alone(rate: str) -> None:
    config = without_dropout(EncoderConfig.from_hugging_face(BERT, "tiny"))
    one = msgspec.structs.replace(config.dropout, **{rate: 0.5})
    torch.manual_seed(0)
    encoder = Encoder(msgspec.structs.replace(config, dropout=one))
    tokens, mask, _ = make_batch(BERT, 2, 10)
    still = output_of(encoder.eval(), tokens, mask).hidden
    assert torch.equal(output_of(encoder, tokens, mask).hidden, still)
    assert max_error(output_of(encoder.train(), tokens, mask).hidden, still) > 1e-3


def test_without_dropout_training_is_inference() -> None:
    encoder = Encoder(without_dropout(EncoderConfig.from_hugging_face(DISTILBERT, "tiny")))
    tokens, mask, _ = make_batch(DISTILBERT, 2, 10)
    first = output_of(encoder.train(), tokens, mask).hidden
    assert torch.equal(output_of(encoder.eval(), tokens, mask).hidden, first)


# --- loading ----------------------------------------------------------------------------------


def test_a_pooler_is_there_when_the_checkpoint_has_it(tmp_path: Path) -> None:
    write_reference(tmp_path / "whole", BERT)
    write_reference(tmp_path / "masked", BERT, "ForMaskedLM")
    whole, masked = (resolve_encoder(str(tmp_path / name)) for name in ("whole", "masked"))
    assert load_encoder(whole).pooler is not None
    assert load_encoder(whole, pooler=False).pooler is None
    assert load_encoder(masked).pooler is None
    with pytest.raises(WeightsError, match="has no pooler"):
        load_encoder(masked, pooler=True)


@pytest.mark.parametrize("name", ["distilbert", "DistilBERT/distilbert-base-uncased"])
def test_a_known_name_with_random_weights(name: str) -> None:
    source = resolve_encoder(name, random_weights=True, seed=3)
    encoder = load_encoder(source)
    # 30522·768 + 512·768 + 2·768; per layer 4·(768² + 768) + 2·768·3072 + 3072 + 768 + 4·768.
    layer = 4 * (768**2 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    assert parameters == 30522 * 768 + 512 * 768 + 2 * 768 + 6 * layer == 66_362_880
    assert (source.name, source.origin) == ("distilbert-base-uncased", "random")
    assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())
    hidden = output_of(encoder, torch.arange(1000, 1005)[None]).hidden
    assert torch.isfinite(hidden).all()


def test_random_weights_follow_the_seed() -> None:
    def first_row(seed: int) -> Tensor:
        source = resolve_encoder("distilbert-base-uncased", random_weights=True, seed=seed)
        return load_encoder(source).token_embedding.weight[1].detach()

    assert torch.equal(first_row(0), first_row(0))
    assert not torch.equal(first_row(0), first_row(1))


def test_a_source_is_a_decoder_or_an_encoder_by_its_config() -> None:
    assert isinstance(resolve_source("bert-base", random_weights=True).config, EncoderConfig)
    assert not isinstance(resolve_source("gpt2", random_weights=True).config, EncoderConfig)
    assert "roberta-large" in known_encoder_names() and "t5-base" not in known_encoder_names()
    with pytest.raises(UnsupportedError, match="Supported decoders"):
        resolve_model("bert-base", random_weights=True)
    with pytest.raises(UnsupportedError, match="Supported encoders"):
        resolve_encoder("gpt2", random_weights=True)


def test_fingerprints_leave_the_name_out(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_reference(tmp_path / folder, BERT, seed=seed)
    a, b, c = (resolve_encoder(str(tmp_path / folder)).fingerprint for folder in "abc")
    assert a == b != c


# --- bad input --------------------------------------------------------------------------------


def test_too_many_tokens() -> None:
    encoder = Encoder(EncoderConfig.from_hugging_face(ROBERTA, "tiny"))
    with pytest.raises(InputError, match="33 tokens do not fit into the 32 positions of tiny"):
        encoder(torch.ones(1, 33, dtype=torch.int64))


def test_token_types_of_an_encoder_without_them() -> None:
    encoder = Encoder(EncoderConfig.from_hugging_face(DISTILBERT, "tiny"))
    tokens = torch.ones(1, 3, dtype=torch.int64)
    with pytest.raises(InputError, match="tiny has no token types"):
        encoder(tokens, None, torch.zeros_like(tokens))
