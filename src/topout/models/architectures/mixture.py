"""Mixtures of experts: Mixtral, Qwen1.5/2-MoE and Qwen3-MoE."""

import msgspec

from topout.errors import InputError
from topout.models.architecture import Architecture, Attention, Block, Mlp
from topout.models.architectures.rotary_decoder import read_rotary_attention, rotary_decoder
from topout.models.architectures.stack import stack_layers
from topout.models.config import MOST_LAYERS, read_activation, read_sliding_layers
from topout.models.fields import Fields


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
            _block(
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
    layers = fields.integer("num_hidden_layers", most=MOST_LAYERS)
    experts = _experts(
        fields,
        "moe_intermediate_size",
        per_token=4 if is_qwen2 else 8,
        shared_width=fields.integer("shared_expert_intermediate_size", 5632) if is_qwen2 else 0,
    )
    mixed = _block(fields, 1, attention, experts)
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


def _block(fields: Fields, layers: int, attention: Attention, mlp: Mlp) -> Block:
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
