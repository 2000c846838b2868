"""The published shapes of known models that no formulas describe: transformers builds them.

Sources as in `known_shapes`: the `config.json` of the hub id beside each entry; fields that are
transformers' own default are left out. What their modules were counted to have stands in
`known_counted`.
"""

from topout.models.known_shapes import ConfigJson, KnownShapes, sizes


def _opt(width: int, layers: int, heads: int) -> ConfigJson:
    return {
        "model_type": "opt",
        "hidden_size": width,
        "ffn_dim": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "word_embed_proj_dim": width,
        "vocab_size": 50272,
        "max_position_embeddings": 2048,
        "torch_dtype": "float16",
    }


def _bloom(width: int, layers: int, heads: int, dtype: str = "float16") -> ConfigJson:
    return {
        "model_type": "bloom",
        "hidden_size": width,
        "n_layer": layers,
        "n_head": heads,
        "vocab_size": 250880,
        "torch_dtype": dtype,
    }


_FP8: ConfigJson = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
_MXFP4: ConfigJson = {
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    }
}
_IN_BF16: ConfigJson = {"torch_dtype": "bfloat16", "tie_word_embeddings": False}
_DEEPSEEK: ConfigJson = _IN_BF16 | {
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 163840,
}
_DEEPSEEK_V3 = _DEEPSEEK | {
    "model_type": "deepseek_v3",
    "vocab_size": 129280,
    "q_lora_rank": 1536,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
}
_DEEPSEEK_V2 = _DEEPSEEK | {
    "model_type": "deepseek_v2",
    "vocab_size": 102400,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
}
_GPT_OSS = (
    _IN_BF16
    | _MXFP4
    | {
        "model_type": "gpt_oss",
        "vocab_size": 201088,
        "head_dim": 64,
        "num_experts_per_tok": 4,
        "max_position_embeddings": 131072,
        "sliding_window": 128,
    }
)
_GLM_MOE = _IN_BF16 | {
    "model_type": "glm4_moe",
    "vocab_size": 151552,
    "head_dim": 128,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "max_position_embeddings": 131072,
}
_LLAMA4 = _IN_BF16 | {
    "model_type": "llama4_text",
    "vocab_size": 202048,
    "head_dim": 128,
    "intermediate_size_mlp": 16384,
    "num_experts_per_tok": 1,
}
_PHI3 = _IN_BF16 | {"model_type": "phi3", "vocab_size": 32064, "max_position_embeddings": 4096}

TODAY: KnownShapes = {
    "opt-125m": ("facebook/opt-125m", _opt(768, 12, 12)),
    "opt-1.3b": ("facebook/opt-1.3b", _opt(2048, 24, 32)),
    "opt-6.7b": ("facebook/opt-6.7b", _opt(4096, 32, 32)),
    "opt-13b": ("facebook/opt-13b", _opt(5120, 40, 40)),
    "opt-30b": ("facebook/opt-30b", _opt(7168, 48, 56)),
    "opt-66b": ("facebook/opt-66b", _opt(9216, 64, 72)),
    "opt-175b": ("facebook/opt-175b", _opt(12288, 96, 96)),
    "bloom-560m": ("bigscience/bloom-560m", _bloom(1024, 24, 16)),
    "bloom-7b1": ("bigscience/bloom-7b1", _bloom(4096, 30, 32)),
    "bloom": ("bigscience/bloom", _bloom(14336, 70, 112, "bfloat16")),
    "gpt-j-6b": (
        "EleutherAI/gpt-j-6b",
        {"model_type": "gptj", "vocab_size": 50400, "torch_dtype": "float32"},
    ),
    "gpt-neox-20b": (
        "EleutherAI/gpt-neox-20b",
        {
            "model_type": "gpt_neox",
            "hidden_size": 6144,
            "intermediate_size": 24576,
            "num_hidden_layers": 44,
            "num_attention_heads": 64,
            "vocab_size": 50432,
            "torch_dtype": "float16",
        },
    ),
    "falcon-7b": (
        "tiiuae/falcon-7b",
        {
            "model_type": "falcon",
            "hidden_size": 4544,
            "num_hidden_layers": 32,
            "num_attention_heads": 71,
            "multi_query": True,
            "parallel_attn": True,
            "bias": False,
            "vocab_size": 65024,
            "torch_dtype": "bfloat16",
        },
    ),
    "starcoder2-15b": (
        "bigcode/starcoder2-15b",
        _IN_BF16
        | sizes(6144, 24576, 40, 48, 4)
        | {"model_type": "starcoder2", "vocab_size": 49152, "max_position_embeddings": 16384},
    ),
    "mamba-2.8b": (
        "state-spaces/mamba-2.8b-hf",
        {
            "model_type": "mamba",
            "hidden_size": 2560,
            "num_hidden_layers": 64,
            "vocab_size": 50280,
            "torch_dtype": "float32",
        },
    ),
    "phi-2": (
        "microsoft/phi-2",
        sizes(2560, 10240, 32, 32, 32)
        | {"model_type": "phi", "vocab_size": 51200, "torch_dtype": "float16"},
    ),
    "phi-3-mini": ("microsoft/Phi-3-mini-4k-instruct", _PHI3 | sizes(3072, 8192, 32, 32, 32)),
    "phi-4": (
        "microsoft/phi-4",
        _PHI3
        | sizes(5120, 17920, 40, 40, 10)
        | {"vocab_size": 100352, "max_position_embeddings": 16384},
    ),
    "olmo-2-7b": (
        "allenai/OLMo-2-1124-7B",
        sizes(4096, 11008, 32, 32, 32)
        | {"model_type": "olmo2", "vocab_size": 100352, "torch_dtype": "float32"},
    ),
    "granite-3.3-8b": (
        "ibm-granite/granite-3.3-8b-base",
        sizes(4096, 12800, 40, 32, 8)
        | {
            "model_type": "granite",
            "vocab_size": 49152,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        },
    ),
    "smollm3-3b": (
        "HuggingFaceTB/SmolLM3-3B",
        sizes(2048, 11008, 36, 16, 4)
        | {
            "model_type": "smollm3",
            "vocab_size": 128256,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        },
    ),
    "glm-4-9b": (
        "zai-org/GLM-4-9B-0414",
        _IN_BF16
        | sizes(4096, 13696, 40, 32, 2)
        | {"model_type": "glm4", "vocab_size": 151552, "head_dim": 128},
    ),
    "glm-4.5-air": (
        "zai-org/GLM-4.5-Air",
        _GLM_MOE
        | sizes(4096, 10944, 46, 96, 8)
        | {"n_routed_experts": 128, "moe_intermediate_size": 1408, "first_k_dense_replace": 1},
    ),
    "glm-4.5": (
        "zai-org/GLM-4.5",
        _GLM_MOE
        | sizes(5120, 12288, 92, 96, 8)
        | {
            "n_routed_experts": 160,
            "moe_intermediate_size": 1536,
            "first_k_dense_replace": 3,
            "use_qk_norm": True,
        },
    ),
    "deepseek-v2-lite": (
        "deepseek-ai/DeepSeek-V2-Lite",
        _DEEPSEEK_V2
        | sizes(2048, 10944, 27, 16, 16)
        | {"n_routed_experts": 64, "moe_intermediate_size": 1408, "q_lora_rank": None},
    ),
    "deepseek-v2": (
        "deepseek-ai/DeepSeek-V2",
        _DEEPSEEK_V2
        | sizes(5120, 12288, 60, 128, 128)
        | {"n_routed_experts": 160, "moe_intermediate_size": 1536, "q_lora_rank": 1536},
    ),
    "deepseek-v3": (
        "deepseek-ai/DeepSeek-V3",
        _DEEPSEEK_V3 | _FP8 | sizes(7168, 18432, 61, 128, 128),
    ),
    "deepseek-r1": (
        "deepseek-ai/DeepSeek-R1",
        _DEEPSEEK_V3 | _FP8 | sizes(7168, 18432, 61, 128, 128),
    ),
    "kimi-k2": (
        "moonshotai/Kimi-K2-Instruct",
        _DEEPSEEK_V3
        | _FP8
        | sizes(7168, 18432, 61, 64, 64)
        | {"vocab_size": 163840, "n_routed_experts": 384, "first_k_dense_replace": 1},
    ),
    "gpt-oss-20b": (
        "openai/gpt-oss-20b",
        _GPT_OSS | sizes(2880, 2880, 24, 64, 8) | {"num_local_experts": 32},
    ),
    "gpt-oss-120b": (
        "openai/gpt-oss-120b",
        _GPT_OSS | sizes(2880, 2880, 36, 64, 8) | {"num_local_experts": 128},
    ),
    "qwen3-next-80b-a3b": (
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        _IN_BF16
        | sizes(2048, 5120, 48, 16, 2)
        | {
            "model_type": "qwen3_next",
            "vocab_size": 151936,
            "head_dim": 256,
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "max_position_embeddings": 262144,
        },
    ),
    "minimax-m2": (
        "MiniMaxAI/MiniMax-M2",
        _IN_BF16
        | _FP8
        | sizes(3072, 1536, 62, 48, 8)
        | {
            "model_type": "minimax_m2",
            "vocab_size": 200064,
            "head_dim": 128,
            "num_local_experts": 256,
            "num_experts_per_tok": 8,
        },
    ),
    "llama-4-scout": (
        "meta-llama/Llama-4-Scout-17B-16E",
        _LLAMA4
        | sizes(5120, 8192, 48, 40, 8)
        | {"num_local_experts": 16, "interleave_moe_layer_step": 1},
    ),
    "llama-4-maverick": (
        "meta-llama/Llama-4-Maverick-17B-128E",
        _LLAMA4
        | sizes(5120, 8192, 48, 40, 8)
        | {"num_local_experts": 128, "interleave_moe_layer_step": 2},
    ),
    "modernbert-base": (
        "answerdotai/ModernBERT-base",
        {"model_type": "modernbert", "torch_dtype": "float32"},
    ),
    "deberta-v3-base": (
        "microsoft/deberta-v3-base",
        {
            "model_type": "deberta-v2",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "vocab_size": 128100,
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "max_relative_positions": -1,
            "torch_dtype": "float16",
        },
    ),
    "albert-base-v2": (
        "albert/albert-base-v2",
        {
            "model_type": "albert",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
            "torch_dtype": "float32",
        },
    ),
    "bart-large": ("facebook/bart-large", {"model_type": "bart", "torch_dtype": "float32"}),
    "mt5-base": (
        "google/mt5-base",
        {
            "model_type": "mt5",
            "d_model": 768,
            "d_ff": 2048,
            "num_layers": 12,
            "num_heads": 12,
            "vocab_size": 250112,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        },
    ),
    "whisper-large-v3": (
        "openai/whisper-large-v3",
        {
            "model_type": "whisper",
            "d_model": 1280,
            "encoder_layers": 32,
            "decoder_layers": 32,
            "encoder_attention_heads": 20,
            "decoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "decoder_ffn_dim": 5120,
            "vocab_size": 51866,
            "num_mel_bins": 128,
            "torch_dtype": "float16",
        },
    ),
}
