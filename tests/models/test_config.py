import json
from copy import deepcopy  # transformers writes defaults into nested fields
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from topout.errors import InputError, TopoutError, UnsupportedError
from topout.models.architecture import parameters_by_part, total_parameters
from topout.models.config import ModelConfig, architecture_of, read_config, read_config_json
from topout.models.precision import stated_dtype
from topout.models.rope import DynamicScaling, LinearScaling, Llama3Scaling, YarnScaling

from .tiny import GPT2, GROUPED, LLAMA, MISTRAL, QWEN2, QWEN3, Fields

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def config_of(fields: Fields) -> ModelConfig:
    return ModelConfig.from_hugging_face(fields, "tiny")


def without(fields: Fields, key: str) -> Fields:
    return {name: value for name, value in fields.items() if name != key}


def test_gpt2_fields() -> None:
    config = config_of(GPT2)
    assert (config.layers, config.width, config.heads, config.kv_heads) == (3, 48, 4, 4)
    assert (config.head_size, config.mlp_width, config.vocab_size) == (12, 192, 211)
    assert (config.context_len, config.positions, config.norm) == (64, "learned", "layer_norm")
    assert (config.activation, config.gated_mlp, config.tied_head) == ("gelu_tanh", False, True)
    assert (config.qkv_bias, config.attention_bias, config.mlp_bias) == (True, True, True)
    assert config.sliding_window is None


def test_llama_fields() -> None:
    config = config_of(GROUPED | {"rope_theta": 5e5})
    assert (config.heads, config.kv_heads, config.head_size) == (4, 2, 16)
    assert (config.query_width, config.kv_width) == (64, 32)
    assert (config.positions, config.norm, config.norm_eps) == ("rope", "rms_norm", 1e-5)
    assert (config.activation, config.gated_mlp, config.tied_head) == ("silu", True, False)
    assert (config.qkv_bias, config.attention_bias, config.mlp_bias) == (False, False, False)
    assert (config.rope_theta, config.rope_scaling) == (5e5, None)


def test_absent_key_value_heads_are_all_heads() -> None:
    assert config_of(without(LLAMA, "num_key_value_heads")).kv_heads == 4
    assert config_of(LLAMA | {"num_key_value_heads": None}).kv_heads == 4


def test_each_family_has_its_biases_and_norms() -> None:
    qwen2 = config_of(QWEN2)
    assert (qwen2.qkv_bias, qwen2.attention_bias, qwen2.mlp_bias) == (True, False, False)
    assert config_of(QWEN3).qk_norm
    assert not qwen2.qk_norm
    biased = config_of(LLAMA | {"attention_bias": True, "mlp_bias": True})
    assert (biased.qkv_bias, biased.attention_bias, biased.mlp_bias) == (True, True, True)


@pytest.mark.parametrize(
    ("fields", "window"),
    [
        (MISTRAL, 7),
        (MISTRAL | {"sliding_window": None}, None),
        (without(MISTRAL, "sliding_window"), 4096),
        (QWEN2 | {"sliding_window": 5}, None),
        (QWEN2 | {"sliding_window": 5, "use_sliding_window": True}, None),
        (QWEN2 | {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 0}, 5),
        (QWEN2 | {"use_sliding_window": True, "layer_types": ["full_attention"] * 2}, None),
        (LLAMA | {"sliding_window": 5}, None),
    ],
)
def test_sliding_window(fields: Fields, window: int | None) -> None:
    assert config_of(fields).sliding_window == window


@pytest.mark.parametrize(
    ("rope", "scaling"),
    [
        ({"type": "linear", "factor": 2}, LinearScaling(factor=2.0)),
        ({"rope_type": "dynamic", "factor": 4.0}, DynamicScaling(factor=4.0)),
        (
            LLAMA3,
            Llama3Scaling(
                factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_len=16
            ),
        ),
        ({"type": "yarn", "factor": 4.0}, YarnScaling(factor=4.0, original_context_len=64)),
        ({"rope_type": "default"}, None),
        (None, None),
    ],
)
def test_rope_scaling_in_the_old_and_the_new_manner(rope: Fields | None, scaling: object) -> None:
    old = config_of(LLAMA | {"rope_scaling": rope, "rope_theta": 777.0})
    assert (old.rope_theta, old.rope_scaling) == (777.0, scaling)
    new_fields = without(LLAMA, "rope_theta") | {
        "rope_parameters": None if rope is None else rope | {"rope_theta": 777.0}
    }
    new = config_of(new_fields)
    assert (new.rope_theta, new.rope_scaling) == (777.0 if rope else 10_000.0, scaling)


def test_every_field_of_yarn() -> None:
    stated = {
        "rope_type": "yarn",
        "type": "linear",  # the newer name goes first
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "beta_fast": 16,
        "beta_slow": 2.0,
        "attention_factor": 1.25,
        "mscale": 0.7,
        "mscale_all_dim": 0.4,
        "truncate": False,
    }
    assert config_of(LLAMA | {"rope_scaling": stated}).rope_scaling == YarnScaling(
        factor=4.0,
        original_context_len=32,
        beta_fast=16.0,
        beta_slow=2.0,
        attention_factor=1.25,
        mscale=0.7,
        mscale_all_dim=0.4,
        truncate=False,
    )
    plain = config_of(LLAMA | {"rope_scaling": {"type": "yarn", "factor": 4.0}}).rope_scaling
    assert plain == YarnScaling(
        factor=4.0,
        original_context_len=64,
        beta_fast=32.0,
        beta_slow=1.0,
        attention_factor=None,
        mscale=None,
        mscale_all_dim=None,
        truncate=True,
    )


def test_where_a_scaling_states_its_lengths() -> None:
    beside = LLAMA | {"rope_scaling": LLAMA3, "original_max_position_embeddings": 24}
    scaling = config_of(beside).rope_scaling
    assert isinstance(scaling, Llama3Scaling) and scaling.original_context_len == 24
    # A base frequency in the scaling goes before one beside it; it is above 1.
    inner = config_of(LLAMA | {"rope_scaling": LLAMA3 | {"rope_theta": 5.0}, "rope_theta": 7.0})
    assert inner.rope_theta == 5.0
    assert config_of(LLAMA | {"rope_theta": 1.5}).rope_theta == 1.5
    with pytest.raises(InputError, match="`rope_theta` is 1"):
        config_of(LLAMA | {"rope_theta": 1.0})
    # The old place goes before the new one.
    both = {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": LLAMA3}
    assert config_of(LLAMA | both).rope_scaling == LinearScaling(factor=2.0)
    assert config_of(LLAMA | {"partial_rotary_factor": 1.0}).rope_scaling is None
    with pytest.raises(UnsupportedError, match="`partial_rotary_factor`"):
        config_of(LLAMA | {"rope_parameters": {"partial_rotary_factor": 0.5}})


@pytest.mark.parametrize("fields", [GPT2, LLAMA, QWEN2, QWEN3, MISTRAL | {"rope_scaling": LLAMA3}])
def test_what_transformers_writes_is_read_back(fields: Fields, tmp_path: Path) -> None:
    AutoConfig.for_model(**deepcopy(fields), dtype="bfloat16").save_pretrained(tmp_path)
    written = read_config(tmp_path)
    assert msgspec.structs.replace(written, name="tiny") == config_of(fields)
    assert stated_dtype(read_config_json(tmp_path), "tiny") == "bf16"


@pytest.mark.parametrize(
    "fields",
    [
        GPT2,
        GPT2 | {"tie_word_embeddings": False, "n_inner": 100},
        LLAMA | {"attention_bias": True, "mlp_bias": True},
        GROUPED | {"tie_word_embeddings": True, "head_dim": 24},
        QWEN2,
        QWEN3,
        MISTRAL,
    ],
)
def test_parameters_are_those_of_transformers(fields: Fields) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**deepcopy(fields)))
    count = total_parameters(architecture_of(config_of(fields)))
    assert count == sum(parameter.numel() for parameter in model.parameters())


def test_parameters_by_part() -> None:
    # One layer, width 4, two heads of 2, one key/value head, MLP 6, vocabulary 10.
    config = config_of(
        LLAMA
        | {
            "hidden_size": 4,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "num_hidden_layers": 1,
            "intermediate_size": 6,
            "vocab_size": 10,
        }
    )
    assert parameters_by_part(architecture_of(config)) == {
        "embedding": 40,
        "attention": 4 * 4 + 2 * 4 * 2 + 4 * 4,  # Q, K and V, output
        "mlp": 3 * 4 * 6,  # gate, up, down
        "norms": 4 + 4 + 4,  # two in the layer, one before the head
        "head": 40,
    }
    assert total_parameters(architecture_of(config)) == 40 + 48 + 72 + 12 + 40


REQUIRED_GPT2 = ["model_type", "n_embd", "n_layer", "n_head", "vocab_size"]
REQUIRED_LLAMA = [
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
]


@pytest.mark.parametrize(
    ("model_type", "key"),
    [("gpt2", "n_positions")]
    + [(name, "max_position_embeddings") for name in ("llama", "mistral", "qwen2", "qwen3")],
)
def test_positions_that_are_not_stated_are_those_of_transformers(model_type: str, key: str) -> None:
    stated = (GPT2 if model_type == "gpt2" else LLAMA) | {"model_type": model_type}
    fields = {name: value for name, value in stated.items() if name != key}
    config = ModelConfig.from_hugging_face(fields, "model")
    assert config.context_len == getattr(AutoConfig.for_model(model_type), key)


@pytest.mark.parametrize(
    ("fields", "key"),
    [(GPT2, key) for key in REQUIRED_GPT2] + [(LLAMA, key) for key in REQUIRED_LLAMA],
)
def test_a_missing_field_is_named(fields: Fields, key: str) -> None:
    with pytest.raises(InputError, match=f"`{key}` is missing.*Add `{key}`"):
        config_of(without(fields, key))


@pytest.mark.parametrize("value", [0, -3, 1.5, "12", True, [1]])
@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "vocab_size", "head_dim"])
def test_a_wrong_size_is_named(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"`{key}` is"):
        config_of(LLAMA | {key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 5}, "5 heads do not divide the width 64"),
        ({"num_key_value_heads": 3}, "3 key/value heads do not divide 4 heads"),
        ({"num_key_value_heads": 8}, "8 key/value heads do not divide 4 heads"),
        ({"head_dim": 15}, "even head size, not 15"),
        ({"rms_norm_eps": -1e-5}, "`rms_norm_eps` is -1e-05"),
        ({"rms_norm_eps": float("nan")}, "`rms_norm_eps` is nan"),
        ({"rope_theta": 0}, "`rope_theta` is 0"),
        ({"rope_theta": float("inf")}, "`rope_theta` is inf"),
        ({"tie_word_embeddings": "yes"}, "`tie_word_embeddings` is 'yes'.*true or false"),
        ({"rope_scaling": [1]}, "`rope_scaling` is"),
        ({"rope_scaling": {"type": "linear"}}, "`rope_scaling`: `factor` is missing"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "`factor` is 0"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "above `low_freq_factor`"),
        ({"hidden_act": 3}, "`hidden_act` is 3"),
        ({"model_type": 3}, "`model_type` is 3"),
    ],
)
def test_a_contradiction_is_named(change: Fields, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of(LLAMA | change)


def test_gpt2_heads_divide_its_width() -> None:
    with pytest.raises(InputError, match="5 heads do not divide the width 48"):
        config_of(GPT2 | {"n_head": 5})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "bert"}, "'bert' is not supported.*gpt2, llama, mistral, qwen2, qwen3"),
        ({"model_type": "t5"}, "'t5' is not supported"),
        (LLAMA | {"hidden_act": "mish"}, "'mish' is not supported"),
        (LLAMA | {"rope_scaling": {"type": "longrope"}}, "'longrope' is not supported"),
        (LLAMA | {"partial_rotary_factor": 0.5}, "`partial_rotary_factor`"),
        (LLAMA | {"quantization_config": {"bits": 4}}, "stored quantized"),
        (GPT2 | {"add_cross_attention": True}, "cross-attention"),
        (
            QWEN2 | {"use_sliding_window": True, "max_window_layers": 1},
            "sliding window in some layers only",
        ),
    ],
)
def test_the_unsupported_is_named(fields: Fields, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        config_of(fields)


def test_read_config_names_the_folder_and_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        read_config(tmp_path)
    for text, message in (
        ("{", "not valid JSON"),
        ("[1]", "does not hold a JSON object"),
        ("\xff", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ):
        (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match=message):
            read_config(tmp_path)


def test_config_survives_json() -> None:
    config = config_of(GROUPED | {"rope_scaling": LLAMA3})
    assert msgspec.json.decode(msgspec.json.encode(config), type=ModelConfig) == config


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@given(fields=st.sampled_from([GPT2, LLAMA, MISTRAL, QWEN2, QWEN3]), data=st.data())
def test_any_value_in_any_field_gives_a_config_or_a_stated_error(
    fields: Fields, data: st.DataObject
) -> None:
    more = ["rope_scaling", "rope_parameters", "head_dim", "sliding_window", "layer_types", "dtype"]
    key = data.draw(st.sampled_from([*fields, *more]))
    try:
        config = config_of(fields | {key: data.draw(json_values)})
    except TopoutError as error:
        assert "\n" not in str(error)
        assert error.remedy
    else:
        assert total_parameters(architecture_of(config)) > 0
        json.dumps(msgspec.to_builtins(config))
