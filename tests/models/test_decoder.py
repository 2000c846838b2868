"""The decoder's logits against transformers', and its cached passes against its full pass."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from topout.errors import InputError
from topout.models.config import ModelConfig
from topout.models.decoder import Decoder, StaticCache
from topout.models.load import load_decoder, load_transformers
from topout.models.source import ModelSource

from .tiny import (
    GPT2,
    GROUPED,
    LLAMA,
    MISTRAL,
    QWEN2,
    QWEN3,
    Fields,
    make_source,
    make_tokens,
)

TOLERANCE = 1e-4
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
NEW_YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 5e4,
}

CONFIGS: dict[str, Fields] = {
    "gpt2": GPT2,
    "distilgpt2": GPT2 | {"n_layer": 1, "n_embd": 72, "n_head": 6},
    "gpt2_untied_exact_gelu": GPT2
    | {"tie_word_embeddings": False, "activation_function": "gelu", "n_inner": 100},
    "gpt2_layer_scaled": GPT2 | {"scale_attn_by_inverse_layer_idx": True},
    "gpt2_unscaled_relu": GPT2 | {"scale_attn_weights": False, "activation_function": "relu"},
    "llama2": LLAMA,
    "llama2_biased": LLAMA | {"attention_bias": True, "mlp_bias": True},
    "llama3": GROUPED | {"rope_theta": 500000.0},
    "llama3.1": GROUPED | {"rope_theta": 500000.0, "rope_scaling": LLAMA3_SCALING},
    "llama3.2_tied_head_dim": GROUPED
    | {"tie_word_embeddings": True, "head_dim": 24, "rope_scaling": LLAMA3_SCALING},
    "llama_multi_query": LLAMA | {"num_key_value_heads": 1},
    "linear": GROUPED | {"rope_scaling": {"type": "linear", "factor": 2.5}},
    "dynamic": GROUPED | {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "yarn": GROUPED | {"rope_scaling": YARN},
    "yarn_mscales": GROUPED
    | {"rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 0.4, "truncate": False}},
    "yarn_stated_factor": GROUPED
    | {"rope_scaling": YARN | {"attention_factor": 1.3, "beta_fast": 16, "beta_slow": 2}},
    "rope_parameters": GROUPED | {"rope_theta": None, "rope_parameters": NEW_YARN},
    "qwen2": QWEN2,
    "qwen2_tied": QWEN2 | {"tie_word_embeddings": True},
    "qwen2_window": QWEN2
    | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0},
    "qwen3": QWEN3,
    "mistral": MISTRAL,
    "mistral_no_window": MISTRAL | {"sliding_window": None},
}
CACHED = ["gpt2", "llama2", "llama3.1", "qwen2", "qwen3", "mistral"]


def full_logits(decoder: Decoder, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = decoder(tokens, torch.arange(tokens.shape[1]))
    return logits


def reference_logits(source: ModelSource, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = load_transformers(source)(tokens).logits
    return logits


def max_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def make_cache(decoder: Decoder, batch_size: int, max_len: int) -> StaticCache:
    return StaticCache(decoder.config, batch_size, max_len, torch.float32)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_agree_with_transformers(name: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, CONFIGS[name])
    tokens = make_tokens(source.config.vocab_size, 2, 40)
    expected = reference_logits(source, tokens)
    assert expected.std() > 0.2  # not flat, so that agreement means something
    assert max_error(full_logits(load_decoder(source), tokens), expected) <= TOLERANCE


@pytest.mark.parametrize("name", ["gpt2", "llama3.1", "qwen2"])
def test_bf16_logits_are_as_close_as_rounding_allows(name: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, CONFIGS[name])
    tokens = make_tokens(source.config.vocab_size, 2, 40)
    exact = full_logits(load_decoder(source), tokens)
    with torch.inference_mode():
        ours = load_decoder(source, dtype=torch.bfloat16)(tokens, torch.arange(40))
        theirs = load_transformers(source, dtype=torch.bfloat16)(tokens).logits
    assert ours.dtype == theirs.dtype == torch.bfloat16
    our_error, their_error = (ours - exact).abs().mean(), (theirs - exact).abs().mean()
    assert 0 < our_error <= 1.2 * their_error


def test_dynamic_scaling_past_the_context(tmp_path: Path) -> None:
    # The base frequency that transformers computes for a pass over 100 tokens is the table's.
    source = make_source(tmp_path, CONFIGS["dynamic"])
    tokens = make_tokens(source.config.vocab_size, 1, 100)
    decoder = load_decoder(source, max_len=100)
    expected = reference_logits(source, tokens)
    assert max_error(full_logits(decoder, tokens), expected) <= TOLERANCE


def test_a_perturbed_weight_is_noticed(tmp_path: Path) -> None:
    source = make_source(tmp_path, CONFIGS["llama3"])
    tokens = make_tokens(source.config.vocab_size, 1, 20)
    decoder = load_decoder(source)
    decoder.blocks[1].mlp.down.weight[3, 5] += 0.5
    assert max_error(full_logits(decoder, tokens), reference_logits(source, tokens)) > TOLERANCE


@pytest.mark.parametrize(
    "wrong",
    [
        {"rope_theta": 10001.0},
        {"rope_theta": 9000.0},
        {"norm_eps": 1e-2},
        {"activation": "gelu_tanh"},
        {"sliding_window": 10},
        {"rope_scaling": None},
        {"layer_scaled_attention": True},
    ],
    ids=str,
)
def test_a_wrong_config_is_noticed(wrong: Fields, tmp_path: Path) -> None:
    source = make_source(tmp_path, CONFIGS["linear"])
    tokens = make_tokens(source.config.vocab_size, 1, 60)
    expected = reference_logits(source, tokens)
    config = msgspec.structs.replace(source.config, **wrong)
    decoder = load_decoder(dataclasses.replace(source, config=config))
    assert max_error(full_logits(decoder, tokens), expected) > TOLERANCE


@pytest.mark.parametrize("name", CACHED)
def test_prefill_and_decode_equal_the_full_pass(name: str, tmp_path: Path) -> None:
    decoder = load_decoder(make_source(tmp_path, CONFIGS[name]))
    tokens = make_tokens(decoder.config.vocab_size, 2, 24)
    expected = full_logits(decoder, tokens)
    cache = make_cache(decoder, 2, 30)
    with torch.inference_mode():
        prefill = decoder(tokens[:, :15], torch.arange(15), cache, last_only=True)
        assert max_error(prefill, expected[:, 14:15]) <= TOLERANCE
        assert cache.length == 15
        for at in range(15, 24):
            logits = decoder(tokens[:, at : at + 1], torch.tensor([at]), cache)
            assert max_error(logits, expected[:, at : at + 1]) <= TOLERANCE
    assert cache.length == 24


@pytest.mark.parametrize("name", CACHED)
@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_mask_mode_equals_slice_mode(name: str, kind: str, tmp_path: Path) -> None:
    decoder = load_decoder(make_source(tmp_path, CONFIGS[name]))
    tokens = make_tokens(decoder.config.vocab_size, 2, 20)
    expected = full_logits(decoder, tokens)
    cache = make_cache(decoder, 2, 32)
    causal = torch.ones(32, 32, dtype=torch.bool).tril()
    if kind == "additive":
        causal = torch.zeros(32, 32).masked_fill(~causal, float("-inf"))
    with torch.inference_mode():
        for first, last in ((0, 12), (12, 13), (13, 18), (18, 20)):
            positions = torch.arange(first, last)
            logits = decoder(tokens[:, first:last], positions, cache, causal[first:last])
            assert max_error(logits, expected[:, first:last]) <= TOLERANCE
    assert cache.length == 0  # the caller's to keep


@pytest.mark.parametrize("name", CACHED)
def test_a_chunk_with_past_equals_one_by_one(name: str, tmp_path: Path) -> None:
    decoder = load_decoder(make_source(tmp_path, CONFIGS[name]))
    tokens = make_tokens(decoder.config.vocab_size, 1, 17)
    alone, together = make_cache(decoder, 1, 17), make_cache(decoder, 1, 17)
    with torch.inference_mode():
        for cache in (alone, together):
            decoder(tokens[:, :12], torch.arange(12), cache)
        chunk = decoder(tokens[:, 12:], torch.arange(12, 17), together)
        for at in range(12, 17):
            single = decoder(tokens[:, at : at + 1], torch.tensor([at]), alone)
            assert max_error(chunk[:, at - 12 : at - 11], single) <= TOLERANCE
        for layer in range(decoder.config.layers):
            assert max_error(alone.keys[layer], together.keys[layer]) <= TOLERANCE


def test_truncated_positions_are_forgotten(tmp_path: Path) -> None:
    decoder = load_decoder(make_source(tmp_path, CONFIGS["llama3"]))
    tokens = make_tokens(decoder.config.vocab_size, 1, 12)
    cache = make_cache(decoder, 1, 16)
    with torch.inference_mode():
        decoder(tokens[:, :10], torch.arange(10), cache)
        decoder(tokens[:, :5].flip(1), torch.arange(10, 15), cache)  # a rejected draft
        cache.truncate(10)
        logits = decoder(tokens[:, 10:], torch.arange(10, 12), cache)
    assert max_error(logits, full_logits(decoder, tokens)[:, 10:]) <= TOLERANCE
    for length in (-1, 13):
        with pytest.raises(InputError, match="cannot truncate"):
            cache.truncate(length)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_small_config_agrees_with_itself(data: st.DataObject) -> None:
    kv_heads = data.draw(st.integers(1, 3))
    heads = kv_heads * data.draw(st.integers(1, 3))
    head_size = 2 * data.draw(st.integers(1, 6))
    config = ModelConfig.from_hugging_face(
        GROUPED
        | {
            "model_type": data.draw(st.sampled_from(["llama", "qwen2", "qwen3", "mistral"])),
            "hidden_size": heads * head_size,
            "head_dim": head_size,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "num_hidden_layers": data.draw(st.integers(1, 3)),
            "intermediate_size": data.draw(st.integers(1, 40)),
            "sliding_window": data.draw(st.sampled_from([None, 1, 3, 8])),
            "tie_word_embeddings": data.draw(st.booleans()),
        },
        "small",
    )
    torch.manual_seed(0)
    decoder = Decoder(config).requires_grad_(False).eval()
    cuts = sorted(data.draw(st.sets(st.integers(1, 13), max_size=5)) | {0, 14})
    batch_size = data.draw(st.integers(1, 3))
    tokens = make_tokens(config.vocab_size, batch_size, 14)
    cache = make_cache(decoder, batch_size, 14)
    expected = full_logits(decoder, tokens)
    assert torch.isfinite(expected).all()
    with torch.inference_mode():
        for first, last in pairwise(cuts):
            logits = decoder(tokens[:, first:last], torch.arange(first, last), cache)
            assert max_error(logits, expected[:, first:last]) <= TOLERANCE


def test_later_tokens_do_not_matter(tmp_path: Path) -> None:
    decoder = load_decoder(make_source(tmp_path, MISTRAL))
    tokens = make_tokens(decoder.config.vocab_size, 1, 20)
    changed = tokens.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % decoder.config.vocab_size
    before, after = full_logits(decoder, tokens), full_logits(decoder, changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


@pytest.mark.parametrize("name", ["gpt2", "llama3"])
def test_too_many_tokens_are_refused(name: str, tmp_path: Path) -> None:
    decoder = load_decoder(make_source(tmp_path, CONFIGS[name]))
    with pytest.raises(InputError, match="65 tokens do not fit into the 64 positions"):
        full_logits(decoder, make_tokens(100, 1, 65))
    cache = make_cache(decoder, 1, 8)
    with torch.inference_mode():
        decoder(make_tokens(100, 1, 8), torch.arange(8), cache)
        with pytest.raises(InputError, match="9 tokens do not fit into the 8 positions"):
            decoder(make_tokens(100, 1, 1), torch.tensor([8]), cache)
    assert cache.length == 8


def test_cache_states_its_bytes() -> None:
    config = ModelConfig.from_hugging_face(GROUPED, "tiny")
    cache = StaticCache(config, 3, 10, torch.bfloat16)
    # keys and values · layers · batch · kv_heads · positions · head_size · bytes
    assert cache.bytes() == 2 * 2 * 3 * 2 * 10 * 16 * 2
    for batch_size, max_len in ((0, 10), (1, 0), (-1, 1)):
        with pytest.raises(InputError, match="below 1"):
            StaticCache(config, batch_size, max_len, torch.float32)


def test_rotary_tables_stay_fp32(tmp_path: Path) -> None:
    source = make_source(tmp_path, GROUPED)
    decoder, reference = load_decoder(source), load_decoder(source)
    assert decoder.to(torch.bfloat16).to(torch.float32).rotary is not None
    assert reference.rotary is not None
    assert torch.equal(decoder.rotary.cos, reference.rotary.cos)
    assert next(decoder.parameters()).dtype == torch.float32


def test_compiled_decode_is_one_graph(tmp_path: Path) -> None:
    decoder = load_decoder(make_source(tmp_path, CONFIGS["llama3.1"]))
    tokens = make_tokens(decoder.config.vocab_size, 1, 12)
    expected = full_logits(decoder, tokens)
    cache = make_cache(decoder, 1, 16)
    slots = torch.arange(16)

    def decode_one_token(token: Tensor, position: Tensor) -> Tensor:
        logits: Tensor = decoder(token, position, cache, slots <= position[:, None])
        return logits

    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(decode_one_token, backend="aot_eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        decoder(tokens[:, :8], torch.arange(8), cache)
        for at in range(8, 12):
            logits = compiled(tokens[:, at : at + 1], torch.tensor([at]))
            assert max_error(logits, expected[:, at : at + 1]) <= TOLERANCE
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_shapes_of_all_parameters() -> None:
    """A context of 64, a vocabulary of 211 and a width of 48; Llama with 2 of 4 heads' keys."""
    gpt2 = Decoder(ModelConfig.from_hugging_face(GPT2 | {"n_layer": 1}, "tiny"))
    assert {name: tuple(each.shape) for name, each in gpt2.named_parameters()} == {
        "token_embedding.weight": (211, 48),  # the head's too
        "position_embedding.weight": (64, 48),
        "blocks.0.attention_norm.weight": (48,),
        "blocks.0.attention_norm.bias": (48,),
        "blocks.0.attention.qkv.weight": (144, 48),
        "blocks.0.attention.qkv.bias": (144,),
        "blocks.0.attention.output.weight": (48, 48),
        "blocks.0.attention.output.bias": (48,),
        "blocks.0.mlp_norm.weight": (48,),
        "blocks.0.mlp_norm.bias": (48,),
        "blocks.0.mlp.up.weight": (192, 48),
        "blocks.0.mlp.up.bias": (192,),
        "blocks.0.mlp.down.weight": (48, 192),
        "blocks.0.mlp.down.bias": (48,),
        "norm.weight": (48,),
        "norm.bias": (48,),
    }
    assert gpt2.head.weight is gpt2.token_embedding.weight
    wide = Decoder(
        ModelConfig.from_hugging_face(GROUPED | {"num_hidden_layers": 1, "head_dim": 24}, "tiny")
    )
    assert {name: tuple(each.shape) for name, each in wide.named_parameters()} == {
        "token_embedding.weight": (199, 64),
        "blocks.0.attention_norm.weight": (64,),
        "blocks.0.attention.qkv.weight": (4 * 24 + 2 * 2 * 24, 64),
        "blocks.0.attention.output.weight": (64, 4 * 24),
        "blocks.0.mlp_norm.weight": (64,),
        "blocks.0.mlp.gate_up.weight": (2 * 144, 64),
        "blocks.0.mlp.down.weight": (64, 144),
        "norm.weight": (64,),
        "head.weight": (199, 64),
    }


def test_learned_positions_end_with_the_context_and_rotations_do_not() -> None:
    gpt2, llama = (ModelConfig.from_hugging_face(fields, "tiny") for fields in (GPT2, LLAMA))
    assert [Decoder(gpt2, max_len=each).max_len for each in (None, 10, 64, 100)] == [64, 10, 64, 64]
    assert [Decoder(llama, max_len=each).max_len for each in (None, 10, 100)] == [64, 10, 100]
    rotary = Decoder(llama, max_len=100).rotary
    assert rotary is not None and rotary.cos.shape == (100, 8)
