"""Small versions of the architectures that transformers builds, as their configs."""

import json
from typing import Any

from topout.models.hub import offline
from topout.models.structure.build import quiet_transformers

_SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": 5,
    "vocab_size": 128,
}
_GROUPED = _SMALL | {"num_key_value_heads": 2, "head_dim": 16}
_EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
_LATENT = _SMALL | {
    "kv_lora_rank": 20,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    **_EXPERTS,
}
_MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2}
_MAMBA2 = _MAMBA | {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1}
_ENCODER = _SMALL | {"max_position_embeddings": 64}
_TWO_SIDES = {"encoder_layers": 4, "decoder_layers": 3, "d_model": 64, "vocab_size": 128}
_TWO_SIDES |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
_TWO_SIDES |= {"encoder_ffn_dim": 96, "decoder_ffn_dim": 96}
_DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
_DELTA |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    # Decoders: keys and values of all heads, of fewer, of one.
    "phi": _SMALL,
    "phi3": _GROUPED | {"pad_token_id": 0},
    "olmo": _SMALL,
    "olmo2": _GROUPED,
    "olmo3": _GROUPED | {"sliding_window": 8},
    "granite": _GROUPED,
    "smollm3": _GROUPED | {"pad_token_id": 0},
    "starcoder2": _GROUPED,
    "stablelm": _GROUPED,
    "cohere": _GROUPED,
    "cohere2": _GROUPED | {"sliding_window": 8},
    "nemotron": _GROUPED,
    "glm": _GROUPED | {"pad_token_id": 0},
    "glm4": _GROUPED | {"pad_token_id": 0},
    "gpt_neox": _SMALL,
    "gptj": {"n_embd": 64, "n_layer": 4, "n_head": 4, "rotary_dim": 8, "vocab_size": 128},
    "gpt_bigcode": {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 128},
    "opt": {"hidden_size": 64, "ffn_dim": 96, "num_attention_heads": 4, "num_hidden_layers": 4}
    | {"word_embed_proj_dim": 64, "vocab_size": 128},
    "bloom": {"hidden_size": 64, "n_layer": 4, "n_head": 4, "vocab_size": 128},
    "mpt": {"d_model": 64, "n_layers": 4, "n_heads": 4, "vocab_size": 128},
    "falcon": {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4}
    | {"vocab_size": 128},
    # Windows, chunks, and text parts of models that see.
    "gemma3": {"text_config": {"model_type": "gemma3_text", **_GROUPED, "sliding_window": 8}},
    "gemma4_text": _GROUPED | {"num_hidden_layers": 6, "num_kv_shared_layers": 0},
    "llama4_text": _GROUPED | {"intermediate_size_mlp": 96, "attention_chunk_size": 16},
    "mistral3": {"text_config": {"model_type": "mistral", **_GROUPED}},
    # Mixtures of experts.
    "deepseek_v2": _LATENT | {"n_routed_experts": 4, "topk_method": "greedy", "n_group": None},
    "deepseek_v3": _LATENT | {"n_routed_experts": 8, "n_group": 2, "topk_group": 1},
    "gpt_oss": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    "qwen3_moe": _GROUPED | {"num_experts": 4, **_EXPERTS},
    "glm4_moe": _GROUPED | {"n_routed_experts": 4, "first_k_dense_replace": 1, **_EXPERTS},
    "minimax_m2": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "phimoe": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "olmoe": _SMALL | {"num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    # Scans, recurrences, convolutions, alone and beside attention.
    "mamba": {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 4, "vocab_size": 128},
    "mamba2": {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 4, "vocab_size": 128}
    | {"num_heads": 8, "head_dim": 16, "n_groups": 1},
    "rwkv": {"hidden_size": 64, "attention_hidden_size": 64, "num_hidden_layers": 4}
    | {"vocab_size": 128},
    "jamba": _GROUPED
    | _MAMBA
    | {"attn_layer_offset": 1, "attn_layer_period": 3}
    | {"num_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 7, "mamba_dt_rank": 4},
    "bamba": _GROUPED | _MAMBA2 | {"attn_layer_indices": [1, 4], "num_hidden_layers": 6},
    "zamba2": _GROUPED
    | {"num_hidden_layers": 6, "attention_head_dim": 32, "mamba_d_state": 8}
    | {"n_mamba_heads": 8, "mamba_headdim": 16, "mamba_ngroups": 1, "num_mem_blocks": 1}
    | {"layers_block_type": ["mamba", "hybrid", "mamba", "mamba", "hybrid", "mamba"]},
    "falcon_h1": _GROUPED | _MAMBA2 | {"mamba_d_ssm": 128},
    "qwen3_next": _GROUPED
    | _DELTA
    | {"num_experts": 4, **_EXPERTS, "num_hidden_layers": 8}
    | {"shared_expert_intermediate_size": 24},
    "qwen3_5_text": _GROUPED | _DELTA | {"num_hidden_layers": 8},
    "kimi_linear": _LATENT | {"num_experts": 4, "num_experts_per_token": 2, "pad_token_id": 0},
    "minimax": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "lfm2": _GROUPED | {"layer_types": ["conv", "conv", "full_attention", "conv", "conv"]},
    # Encoders, and encoders with decoders.
    "modernbert": _ENCODER | {"local_attention": 16, "pad_token_id": 0},
    "deberta": _ENCODER,
    "deberta-v2": _ENCODER,
    "albert": _ENCODER,
    "electra": _ENCODER,
    "mpnet": _ENCODER,
    "camembert": _ENCODER,
    "bart": _TWO_SIDES,
    "mt5": {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 4, "num_heads": 4}
    | {"vocab_size": 128},
    "whisper": _TWO_SIDES
    | {"max_source_positions": 40, "max_target_positions": 48}
    | {"pad_token_id": 0},
    "clip": {},
}


def small_config(model_type: str) -> dict[str, Any]:
    """The fields of a small version, completed by transformers."""
    from transformers import CONFIG_MAPPING

    with quiet_transformers(), offline():
        config = CONFIG_MAPPING[model_type](**ARCHITECTURES[model_type])
    completed: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return completed | {"architectures": None}
