"""GPT-2, Llama and those of Llama's shape: Mistral, TinyLlama, SmolLM2."""

from topout.models.known_shapes.sizes import TIED, ConfigJson, KnownShapes, sizes


def _gpt2(width: int, layers: int, heads: int) -> ConfigJson:
    return {
        "model_type": "gpt2",
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": 1024,
        "vocab_size": 50257,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    }


def _llama3_scaling(factor: float) -> ConfigJson:
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    return {"max_position_embeddings": 131072, "rope_scaling": scaling}


LLAMA2: ConfigJson = {
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_LLAMA3 = LLAMA2 | {
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500_000.0,
}
_LLAMA31 = _LLAMA3 | _llama3_scaling(8.0)
_LLAMA32 = _LLAMA3 | _llama3_scaling(32.0) | TIED
_SMOLLM2 = LLAMA2 | TIED | {"vocab_size": 49152, "max_position_embeddings": 8192}
_MISTRAL = LLAMA2 | {
    "model_type": "mistral",
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
}
_8B, _70B = sizes(4096, 14336, 32, 32, 8), sizes(8192, 28672, 80, 64, 8)

DECODERS: KnownShapes = {
    "distilgpt2": ("distilbert/distilgpt2", _gpt2(768, 6, 12)),
    "gpt2": ("openai-community/gpt2", _gpt2(768, 12, 12)),
    "gpt2-medium": ("openai-community/gpt2-medium", _gpt2(1024, 24, 16)),
    "gpt2-large": ("openai-community/gpt2-large", _gpt2(1280, 36, 20)),
    "gpt2-xl": ("openai-community/gpt2-xl", _gpt2(1600, 48, 25)),
    "llama-2-7b": ("meta-llama/Llama-2-7b-hf", LLAMA2 | sizes(4096, 11008, 32, 32, 32)),
    "llama-2-13b": ("meta-llama/Llama-2-13b-hf", LLAMA2 | sizes(5120, 13824, 40, 40, 40)),
    "llama-2-70b": ("meta-llama/Llama-2-70b-hf", LLAMA2 | _70B),
    "llama-3-8b": ("meta-llama/Meta-Llama-3-8B", _LLAMA3 | _8B),
    "llama-3-70b": ("meta-llama/Meta-Llama-3-70B", _LLAMA3 | _70B),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B", _LLAMA31 | _8B),
    "llama-3.1-70b": ("meta-llama/Llama-3.1-70B", _LLAMA31 | _70B),
    "llama-3.1-405b": ("meta-llama/Llama-3.1-405B", _LLAMA31 | sizes(16384, 53248, 126, 128, 8)),
    "llama-3.2-1b": ("meta-llama/Llama-3.2-1B", _LLAMA32 | sizes(2048, 8192, 16, 32, 8)),
    "llama-3.2-3b": ("meta-llama/Llama-3.2-3B", _LLAMA32 | sizes(3072, 8192, 28, 24, 8)),
    "tinyllama-1.1b": (
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        LLAMA2 | sizes(2048, 5632, 22, 32, 4) | {"max_position_embeddings": 2048},
    ),
    "mistral-7b": ("mistralai/Mistral-7B-v0.1", _MISTRAL | _8B),
    "smollm2-135m": (
        "HuggingFaceTB/SmolLM2-135M",
        _SMOLLM2 | sizes(576, 1536, 30, 9, 3) | {"rope_theta": 100_000.0},
    ),
    "smollm2-360m": (
        "HuggingFaceTB/SmolLM2-360M",
        _SMOLLM2 | sizes(960, 2560, 32, 15, 5) | {"rope_theta": 100_000.0},
    ),
    "smollm2-1.7b": (
        "HuggingFaceTB/SmolLM2-1.7B",
        _SMOLLM2 | sizes(2048, 8192, 24, 32, 32) | {"rope_theta": 130_000.0},
    ),
}
