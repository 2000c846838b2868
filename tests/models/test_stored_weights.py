"""How quantized checkpoints store their weights: the configs of each kind as they are published."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from topout.cost.ops import ELEMENT_BYTES
from topout.errors import InputError, TopoutError
from topout.models.stored_weights import StoredWeights, integer_format, stored_weights

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
# Of gpt-oss: attention, routers, table and head stay as they were.
MXFP4 = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}
# Of DeepSeek V3: no list, and nothing but linear layers of the blocks is quantized.
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}


def stored(quantization: dict[str, Any]) -> StoredWeights:
    found = stored_weights({"quantization_config": quantization}, "model")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [
        (AWQ, "int4-g128"),
        (AWQ | {"modules_to_not_convert": None}, "int4-g128"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "int4-g64"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, "int4-g128"),
        ({"quant_method": "gptq", "bits": 3, "group_size": -1}, "int3"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, "int8-g32"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
        (
            {
                "quant_method": "bitsandbytes",
                "load_in_4bit": True,
                "bnb_4bit_use_double_quant": True,
            },
            "nf4-double",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        (FP8, "fp8-b128"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        (MXFP4, "mxfp4"),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]},
            "nvfp4",
        ),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": {"num_bits": 4, "type": "int", "group_size": 128},
                    }
                },
                "ignore": ["lm_head"],
            },
            "int4-g128",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
                },
            },
            "fp8",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "a": {"weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}
                },
            },
            "int8",
        ),
        # Known by name alone, or of a size that is not: said so, and not counted as another.
        ({"quant_method": "aqlm"}, None),
        ({"quant_method": "gptq", "bits": 5}, None),
        ({"quant_method": "awq", "bits": 4, "group_size": 100}, None),
        ({"bits": 4}, None),
    ],
)
def test_the_format_of_each_kind(quantization: dict[str, Any], dtype: str | None) -> None:
    found = stored(quantization)
    assert found.dtype == dtype
    assert dtype is None or dtype in ELEMENT_BYTES


def test_what_stays_as_it_was() -> None:
    assert stored(AWQ).unquantized_parts == ("head",)
    assert stored(MXFP4).unquantized_parts == ("attention", "head")
    assert stored({"quant_method": "gptq", "bits": 4, "lm_head": True}).unquantized_parts == ()
    # Qwen3's lists name norms and routers of every layer, which no quantization takes.
    norms = [f"model.layers.{layer}.{name}" for layer in range(48) for name in ("mlp.gate", "norm")]
    assert stored(FP8 | {"modules_to_not_convert": ["lm_head", *norms]}).unquantized_parts == (
        "head",
    )
    # Llama 4's name attention of every layer.
    every = [f"language_model.model.layers.{layer}.self_attn" for layer in range(48)]
    found = stored({"quant_method": "compressed-tensors", "ignore": every})
    assert (found.unquantized_parts, found.note) == (("attention", "head"), "")


def test_single_layers_are_said() -> None:
    few = ["model.layers.0.mlp", "model.layers.31.mlp.down_proj", "model.layers.31.mlp.up_proj"]
    found = stored(AWQ | {"modules_to_not_convert": few})
    assert found.unquantized_parts == ("head",)
    assert found.note.endswith("counted as if: mlp in 2.")


def test_of_a_composite_and_of_none() -> None:
    assert stored_weights({"model_type": "llama"}, "model") is None
    assert stored_weights({"quantization_config": None}, "model") is None
    inner = stored_weights({"text_config": {"quantization_config": FP8}}, "model")
    assert inner is not None and inner.dtype == "fp8-b128"


def test_bytes_of_the_formats() -> None:
    """By hand: bits, and what is kept for a group of them."""
    assert ELEMENT_BYTES["int4-g128"] == 0.5 + 4 / 128
    assert ELEMENT_BYTES["nf4"] == (64 * 4 / 8 + 4) / 64
    # A byte for each 64, and an fp32 scale for each 256 of these bytes.
    assert ELEMENT_BYTES["nf4-double"] == (256 * (64 * 4 / 8 + 1) + 4) / (256 * 64)
    assert ELEMENT_BYTES["mxfp4"] == (32 * 4 / 8 + 1) / 32
    assert ELEMENT_BYTES["nvfp4"] == (16 * 4 / 8 + 1) / 16
    assert ELEMENT_BYTES["fp8-b128"] == (128 * 128 + 4) / 128**2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 16), st.integers(-1, 512))
def test_a_format_has_a_size(bits: int, group: int) -> None:
    name = integer_format(bits, group)
    assert name is None or bits / 8 <= ELEMENT_BYTES[name] <= bits / 8 + 0.25


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["quant_method", "bits", "group_size", "ignore", "config_groups", "quant_algo"]
        ),
        st.sampled_from(["awq", "gptq", "modelopt", "compressed-tensors", 4, -1, ["lm_head"]])
        | _JSON,
    )
)
def test_no_config_raises_another_error(quantization: dict[str, Any]) -> None:
    try:
        stored(quantization)
    except TopoutError as error:
        assert isinstance(error, InputError)
