"""Mixtures of experts: Mixtral, and Qwen's."""

from topout.models.known_shapes.decoders import LLAMA2
from topout.models.known_shapes.qwen import QWEN2, QWEN3
from topout.models.known_shapes.sizes import ConfigJson, KnownShapes, sizes

_MIXTRAL: ConfigJson = LLAMA2 | {
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "rope_theta": 1_000_000.0,
    "sliding_window": None,
}
_QWEN3_MOE = QWEN3 | {
    "model_type": "qwen3_moe",
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}

MIXTURES: KnownShapes = {
    "mixtral-8x7b": (
        "mistralai/Mixtral-8x7B-v0.1",
        _MIXTRAL | sizes(4096, 14336, 32, 32, 8) | {"max_position_embeddings": 32768},
    ),
    "mixtral-8x22b": (
        "mistralai/Mixtral-8x22B-v0.1",
        _MIXTRAL | sizes(6144, 16384, 56, 48, 8) | {"max_position_embeddings": 65536},
    ),
    "qwen1.5-moe-a2.7b": (
        "Qwen/Qwen1.5-MoE-A2.7B",
        QWEN2
        | sizes(2048, 5632, 24, 16, 16)
        | {
            "model_type": "qwen2_moe",
            "max_position_embeddings": 8192,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
        },
    ),
    "qwen3-30b-a3b": (
        "Qwen/Qwen3-30B-A3B",
        _QWEN3_MOE | sizes(2048, 6144, 48, 32, 4) | {"moe_intermediate_size": 768},
    ),
    "qwen3-235b-a22b": (
        "Qwen/Qwen3-235B-A22B",
        _QWEN3_MOE | sizes(4096, 12288, 94, 64, 4) | {"moe_intermediate_size": 1536},
    ),
}
