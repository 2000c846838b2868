"""Gemma, Gemma 2 and Gemma 3: heads of their own size, a tied head, windows in some layers."""

from typing import Any

import msgspec

from topout.errors import UnsupportedError
from topout.models.architecture import Architecture, Block, Mlp
from topout.models.architectures.decoder import read_window
from topout.models.architectures.rotary_decoder import read_rotary_attention, rotary_decoder
from topout.models.architectures.stack import stack_layers
from topout.models.config import MOST_LAYERS, check_heads, read_activation, read_sliding_layers
from topout.models.fields import Fields

_COUNTED_AS = {
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
_KV_HEADS = {"gemma": 16, "gemma2": 4, "gemma3_text": 4}
_CONTEXT_LEN = {"gemma": 8192, "gemma2": 8192, "gemma3_text": 131072}
# The text part of a Gemma 3 that also sees is stored without what it shares with these defaults
# of transformers' Gemma3TextConfig.
_GEMMA3_TEXT: dict[str, Any] = {
    "model_type": "gemma3_text",
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
}


def read_gemma(fields: Fields) -> Architecture:
    """Gemma, Gemma 2, or a Gemma 3 without vision."""
    return _read_text(fields, fields.source)


def read_gemma3(fields: Fields) -> Architecture:
    """The decoder of a Gemma 3 that also sees; its vision tower is named in `not_counted`."""
    text = fields.nested("text_config")
    stated = {key: value for key, value in text.raw.items() if value is not None}
    tied = fields.flag("tie_word_embeddings", True)
    raw = _GEMMA3_TEXT | {"tie_word_embeddings": tied} | stated
    if fields.has("quantization_config"):
        raw["quantization_config"] = fields.raw["quantization_config"]
    architecture = _read_text(Fields(raw, text.source), fields.source)
    left_out = "The vision tower and the projection of images into tokens."
    return msgspec.structs.replace(
        architecture, model_type="gemma3", not_counted=[left_out, *architecture.not_counted]
    )


def _read_text(fields: Fields, name: str) -> Architecture:
    model_type = fields.text("model_type")
    if fields.flag("use_bidirectional_attention", False):
        raise UnsupportedError(
            f"{name}: a Gemma that looks both ways is not supported.",
            "Choose one that generates text, or count the module with `topout.cost.graph`.",
        )
    attention = read_rotary_attention(
        fields,
        kv_heads=_KV_HEADS[model_type],
        head_size=256,
        qkv_bias=fields.flag("attention_bias", False),
        out_bias=fields.flag("attention_bias", False),
        qk_norm=model_type == "gemma3_text",
    )
    if model_type != "gemma":  # transformers refuses these, whatever the head size
        check_heads(fields, fields.integer("hidden_size"), attention.heads)
    block = Block(
        name="block",
        count=fields.integer("num_hidden_layers", most=MOST_LAYERS),
        width=fields.integer("hidden_size"),
        attention=attention,
        mlp=Mlp(
            width=fields.integer("intermediate_size"),
            gated=True,
            bias=False,
            activation=_activation(fields, model_type),
        ),
        norm="rms_norm",
        norm_bias=False,
        norms=2 if model_type == "gemma" else 4,  # before and after each part
    )
    return rotary_decoder(
        fields,
        name=name,
        counted_as=_COUNTED_AS[model_type],
        blocks=_blocks(fields, model_type, block),
        context_len=_CONTEXT_LEN[model_type],
        tied=True,
    )


def _activation(fields: Fields, model_type: str) -> str:
    # A "gelu" in Gemma's own files means the tanh form, and transformers takes it so.
    key = "hidden_act" if model_type == "gemma" else "hidden_activation"
    stated = read_activation(fields, key, "gelu_pytorch_tanh")
    return "gelu_tanh" if model_type == "gemma" and stated == "gelu" else stated


def _blocks(fields: Fields, model_type: str, block: Block) -> list[Block]:
    """Gemma 2 slides in every other layer, Gemma 3 in all but every sixth."""
    if model_type == "gemma":
        return [block]
    pattern = 2 if model_type == "gemma2" else fields.integer("sliding_window_pattern", 6)
    slides = read_sliding_layers(fields, [bool((i + 1) % pattern) for i in range(block.count)])
    single = msgspec.structs.replace(block, count=1)
    return stack_layers([single] * block.count, slides, read_window(fields))
