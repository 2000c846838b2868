"""Gemma and the mixtures of experts (Mixtral, Qwen-MoE), which share rotary attention."""

from typing import Any

import msgspec

from topout.errors import InputError, UnsupportedError
from topout.models.architecture import (
    Architecture,
    Attention,
    Block,
    Embedding,
    Mlp,
    language_head,
    stack_layers,
)
from topout.models.fields import (
    Fields,
    check_heads,
    notes,
    read_activation,
    read_kv_heads,
    read_sliding_layers,
    read_window,
)

_GEMMA_COUNTED_AS = {
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
_GEMMA_KV_HEADS = {"gemma": 16, "gemma2": 4, "gemma3_text": 4}
_GEMMA_CONTEXT_LEN = {"gemma": 8192, "gemma2": 8192, "gemma3_text": 131072}
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


def read_rotary_attention(
    fields: Fields,
    *,
    kv_heads: int,
    head_size: int | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    qk_norm: bool = False,
) -> Attention:
    """Causal attention with rotary positions, all layers seeing everything.

    `kv_heads` and `head_size` are what transformers takes where a config states none; a
    `head_size` of None is the width by the heads. Raises InputError for heads that do not fit.
    """
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    if head_size is None and not fields.has("head_dim"):
        check_heads(fields, width, heads)
    shared = read_kv_heads(fields, heads, kv_heads)
    if heads % shared:
        raise InputError(
            f"{fields.source}: {shared} key/value heads do not divide {heads} heads.",
            "Correct `num_key_value_heads` in config.json.",
        )
    return Attention(
        heads=heads,
        kv_heads=shared,
        head_size=fields.integer("head_dim", width // heads if head_size is None else head_size),
        qkv_bias=qkv_bias,
        out_bias=out_bias,
        causal=True,
        qk_norm=qk_norm,
        rotary=True,
    )


def rotary_decoder(
    fields: Fields,
    *,
    name: str,
    counted_as: str,
    blocks: list[Block],
    context_len: int,
    tied: bool,
) -> Architecture:
    """A decoder of `blocks` between a token table and a head; `context_len` is the default."""
    width, vocab_size = fields.integer("hidden_size"), fields.integer("vocab_size")
    return Architecture(
        name=name,
        model_type=fields.text("model_type"),
        kind="decoder",
        counted_as=counted_as,
        width=width,
        vocab_size=vocab_size,
        context_len=fields.integer("max_position_embeddings", context_len),
        embeddings=[Embedding(name="tokens", rows=vocab_size, width=width)],
        blocks=blocks,
        final_norms=1,
        heads=[language_head(width, vocab_size, fields.flag("tie_word_embeddings", tied))],
        not_counted=notes(fields, counted_as),
    )


def read_gemma(fields: Fields) -> Architecture:
    """Gemma, Gemma 2, or a Gemma 3 without vision."""
    return _read_gemma_text(fields, fields.source)


def read_gemma3(fields: Fields) -> Architecture:
    """The decoder of a Gemma 3 that also sees; its vision tower is named in `not_counted`."""
    text = fields.nested("text_config")
    stated = {key: value for key, value in text.raw.items() if value is not None}
    tied = fields.flag("tie_word_embeddings", True)
    raw = _GEMMA3_TEXT | {"tie_word_embeddings": tied} | stated
    if fields.has("quantization_config"):
        raw["quantization_config"] = fields.raw["quantization_config"]
    architecture = _read_gemma_text(Fields(raw, text.source), fields.source)
    left_out = "The vision tower and the projection of images into tokens."
    return msgspec.structs.replace(
        architecture, model_type="gemma3", not_counted=[left_out, *architecture.not_counted]
    )


def _read_gemma_text(fields: Fields, name: str) -> Architecture:
    model_type = fields.text("model_type")
    if fields.flag("use_bidirectional_attention", False):
        raise UnsupportedError(
            f"{name}: bidirectional attention (`use_bidirectional_attention`) is not supported.",
            "Choose one that generates text, or count the module with `topout.cost.graph`.",
        )
    attention = read_rotary_attention(
        fields,
        kv_heads=_GEMMA_KV_HEADS[model_type],
        head_size=256,
        qkv_bias=fields.flag("attention_bias", False),
        out_bias=fields.flag("attention_bias", False),
        qk_norm=model_type == "gemma3_text",
    )
    if model_type != "gemma":  # transformers refuses these, whatever the head size
        check_heads(fields, fields.integer("hidden_size"), attention.heads)
    block = Block(
        name="block",
        count=fields.integer("num_hidden_layers"),
        width=fields.integer("hidden_size"),
        attention=attention,
        mlp=Mlp(
            width=fields.integer("intermediate_size"),
            gated=True,
            bias=False,
            activation=_gemma_activation(fields, model_type),
        ),
        norm="rms_norm",
        norm_bias=False,
        norms=2 if model_type == "gemma" else 4,  # before and after each part
    )
    return rotary_decoder(
        fields,
        name=name,
        counted_as=_GEMMA_COUNTED_AS[model_type],
        blocks=_gemma_blocks(fields, model_type, block),
        context_len=_GEMMA_CONTEXT_LEN[model_type],
        tied=True,
    )


def _gemma_activation(fields: Fields, model_type: str) -> str:
    # A "gelu" in Gemma's own files means the tanh form, and transformers takes it so.
    key = "hidden_act" if model_type == "gemma" else "hidden_activation"
    stated = read_activation(fields, key, "gelu_pytorch_tanh")
    return "gelu_tanh" if model_type == "gemma" and stated == "gelu" else stated


def _gemma_blocks(fields: Fields, model_type: str, block: Block) -> list[Block]:
    """Gemma 2 slides in every other layer, Gemma 3 in all but every sixth."""
    if model_type == "gemma":
        return [block]
    pattern = 2 if model_type == "gemma2" else fields.integer("sliding_window_pattern", 6)
    slides = read_sliding_layers(fields, [bool((i + 1) % pattern) for i in range(block.count)])
    single = msgspec.structs.replace(block, count=1)
    return stack_layers([single] * block.count, slides, read_window(fields))


def read_mixtral(fields: Fields) -> Architecture:
    """Mixtral: every MLP is a mixture."""
    attention = read_rotary_attention(fields, kv_heads=8)
    if fields.has("sliding_window"):
        attention = msgspec.structs.replace(attention, window=fields.integer("sliding_window"))
    return rotary_decoder(
        fields,
        name=fields.source,
        counted_as="MixtralForCausalLM",
        blocks=[
            _mixture_block(
                fields,
                fields.integer("num_hidden_layers"),
                attention,
                _experts(fields, "intermediate_size", per_token=2),
            )
        ],
        context_len=131072,
        tied=False,
    )


def read_qwen_moe(fields: Fields) -> Architecture:
    """Qwen's mixtures: some layers may be dense, and Qwen2-MoE has a shared expert."""
    is_qwen2 = fields.text("model_type") == "qwen2_moe"
    stated_bias = not is_qwen2 and fields.flag("attention_bias", False)
    attention = read_rotary_attention(
        fields,
        kv_heads=16 if is_qwen2 else 4,
        qkv_bias=fields.flag("qkv_bias", True) if is_qwen2 else stated_bias,
        out_bias=stated_bias,
        qk_norm=not is_qwen2,
    )
    return rotary_decoder(
        fields,
        name=fields.source,
        counted_as="Qwen2MoeForCausalLM" if is_qwen2 else "Qwen3MoeForCausalLM",
        blocks=_qwen_blocks(fields, attention, is_qwen2),
        context_len=32768,
        tied=False,
    )


def _qwen_blocks(fields: Fields, attention: Attention, is_qwen2: bool) -> list[Block]:
    layers = fields.integer("num_hidden_layers")
    experts = _experts(
        fields,
        "moe_intermediate_size",
        per_token=4 if is_qwen2 else 8,
        shared_width=fields.integer("shared_expert_intermediate_size", 5632) if is_qwen2 else 0,
    )
    mixed = _mixture_block(fields, 1, attention, experts)
    step = fields.integer("decoder_sparse_step", 1)
    dense_layers = fields.integers("mlp_only_layers", [], least=0)
    is_dense = [(i + 1) % step != 0 or i in dense_layers for i in range(layers)]
    dense = mixed
    if any(is_dense):
        mlp = _mlp(fields, "intermediate_size")
        dense = msgspec.structs.replace(mixed, name="dense_block", mlp=mlp)
    slides, window = _qwen_windows(fields, layers, is_qwen2)
    return stack_layers([dense if is_dense[i] else mixed for i in range(layers)], slides, window)


def _qwen_windows(fields: Fields, layers: int, is_qwen2: bool) -> tuple[list[bool], int | None]:
    """Which layers slide, and how far they see; transformers has another rule for each."""
    if not fields.flag("use_sliding_window", False):
        return [False] * layers, None
    window = fields.integer("sliding_window", 4096)
    if not is_qwen2:
        return [True] * layers, window
    last = fields.integer("max_window_layers", 28, least=0)
    default = [i % 2 == 0 and i < last for i in range(layers)]
    return read_sliding_layers(fields, default), window


def _mixture_block(fields: Fields, layers: int, attention: Attention, mlp: Mlp) -> Block:
    return Block(
        name="block",
        count=layers,
        width=fields.integer("hidden_size"),
        attention=attention,
        mlp=mlp,
        norm="rms_norm",
        norm_bias=False,
    )


def _mlp(fields: Fields, width_key: str) -> Mlp:
    return Mlp(
        width=fields.integer(width_key),
        gated=True,
        bias=False,
        activation=read_activation(fields, "hidden_act", "silu"),
    )


def _experts(fields: Fields, width_key: str, *, per_token: int, shared_width: int = 0) -> Mlp:
    """The mixture; `per_token` is what transformers takes where a config states none."""
    # transformers writes either name.
    key = "num_local_experts" if fields.has("num_local_experts") else "num_experts"
    experts = fields.integer(key)
    chosen = fields.integer("num_experts_per_tok", per_token)
    if chosen > experts:
        raise InputError(
            f"{fields.source}: `num_experts_per_tok` is {chosen}, and there are {experts} experts.",
            f"Correct it or `{key}` in config.json.",
        )
    return msgspec.structs.replace(
        _mlp(fields, width_key),
        experts=experts,
        experts_per_token=chosen,
        shared_width=shared_width,
    )
