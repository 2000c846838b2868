"""Models known by a short name: their published shapes as `config.json` fields, and hub ids.

Sources: the `config.json` of the hub id beside each entry.
"""

from pathlib import Path
from typing import Any

from topout.errors import UnknownNameError
from topout.models.config import ModelConfig, read_config_json

DEFAULT_MODEL = "pycode-7m"

_BUNDLED_FOLDER = Path(__file__).parent / "bundled"
# A smaller model with the same tokenizer, which can propose what the larger one verifies.
DRAFTS = {"pycode-7m": "pycode-1m"}
_BUNDLED = {"pycode-7m": "pycode-7m", "pycode-1m": "pycode-1m", "bundled": DEFAULT_MODEL}


ConfigJson = dict[str, Any]  # of a config.json


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


def _shape(width: int, mlp_width: int, layers: int, heads: int, kv_heads: int) -> ConfigJson:
    return {
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
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


_TIED = {"tie_word_embeddings": True}
_LLAMA2: ConfigJson = {
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_LLAMA3 = _LLAMA2 | {
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500_000.0,
}
_LLAMA32 = _LLAMA3 | _llama3_scaling(32.0) | _TIED
_SMOLLM2 = _LLAMA2 | _TIED | {"vocab_size": 49152, "max_position_embeddings": 8192}
_QWEN2 = _LLAMA2 | {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "max_position_embeddings": 131072,
    "rope_theta": 1_000_000.0,
    "rms_norm_eps": 1e-6,
}
_QWEN3 = _QWEN2 | {"model_type": "qwen3", "max_position_embeddings": 40960, "head_dim": 128}
_MISTRAL = _LLAMA2 | {
    "model_type": "mistral",
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
}
_8B, _70B = _shape(4096, 14336, 32, 32, 8), _shape(8192, 28672, 80, 64, 8)
_QWEN_500M = _TIED | _shape(896, 4864, 24, 14, 2)
_QWEN_1500M = _TIED | _shape(1536, 8960, 28, 12, 2)
_QWEN_7B = _shape(3584, 18944, 28, 28, 4) | {"vocab_size": 152064}

# short name → (hub id, fields of config.json)
_KNOWN: dict[str, tuple[str, ConfigJson]] = {
    "distilgpt2": ("distilbert/distilgpt2", _gpt2(768, 6, 12)),
    "gpt2": ("openai-community/gpt2", _gpt2(768, 12, 12)),
    "gpt2-medium": ("openai-community/gpt2-medium", _gpt2(1024, 24, 16)),
    "gpt2-large": ("openai-community/gpt2-large", _gpt2(1280, 36, 20)),
    "gpt2-xl": ("openai-community/gpt2-xl", _gpt2(1600, 48, 25)),
    "llama-2-7b": ("meta-llama/Llama-2-7b-hf", _LLAMA2 | _shape(4096, 11008, 32, 32, 32)),
    "llama-2-13b": ("meta-llama/Llama-2-13b-hf", _LLAMA2 | _shape(5120, 13824, 40, 40, 40)),
    "llama-2-70b": ("meta-llama/Llama-2-70b-hf", _LLAMA2 | _70B),
    "llama-3-8b": ("meta-llama/Meta-Llama-3-8B", _LLAMA3 | _8B),
    "llama-3-70b": ("meta-llama/Meta-Llama-3-70B", _LLAMA3 | _70B),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B", _LLAMA3 | _8B | _llama3_scaling(8.0)),
    "llama-3.1-70b": ("meta-llama/Llama-3.1-70B", _LLAMA3 | _70B | _llama3_scaling(8.0)),
    "llama-3.2-1b": ("meta-llama/Llama-3.2-1B", _LLAMA32 | _shape(2048, 8192, 16, 32, 8)),
    "llama-3.2-3b": ("meta-llama/Llama-3.2-3B", _LLAMA32 | _shape(3072, 8192, 28, 24, 8)),
    "tinyllama-1.1b": (
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        _LLAMA2 | _shape(2048, 5632, 22, 32, 4) | {"max_position_embeddings": 2048},
    ),
    "qwen2-0.5b": ("Qwen/Qwen2-0.5B", _QWEN2 | _QWEN_500M),
    "qwen2-1.5b": ("Qwen/Qwen2-1.5B", _QWEN2 | _QWEN_1500M),
    "qwen2-7b": ("Qwen/Qwen2-7B", _QWEN2 | _QWEN_7B),
    "qwen2.5-0.5b": (
        "Qwen/Qwen2.5-0.5B",
        _QWEN2 | _QWEN_500M | {"max_position_embeddings": 32768},
    ),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B", _QWEN2 | _QWEN_1500M),
    "qwen2.5-3b": (
        "Qwen/Qwen2.5-3B",
        _QWEN2 | _TIED | _shape(2048, 11008, 36, 16, 2) | {"max_position_embeddings": 32768},
    ),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B", _QWEN2 | _QWEN_7B),
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B", _QWEN3 | _TIED | _shape(1024, 3072, 28, 16, 8)),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B", _QWEN3 | _TIED | _shape(2048, 6144, 28, 16, 8)),
    "mistral-7b": ("mistralai/Mistral-7B-v0.1", _MISTRAL | _8B),
    "smollm2-135m": (
        "HuggingFaceTB/SmolLM2-135M",
        _SMOLLM2 | _shape(576, 1536, 30, 9, 3) | {"rope_theta": 100_000.0},
    ),
    "smollm2-360m": (
        "HuggingFaceTB/SmolLM2-360M",
        _SMOLLM2 | _shape(960, 2560, 32, 15, 5) | {"rope_theta": 100_000.0},
    ),
    "smollm2-1.7b": (
        "HuggingFaceTB/SmolLM2-1.7B",
        _SMOLLM2 | _shape(2048, 8192, 24, 32, 32) | {"rope_theta": 130_000.0},
    ),
}


def known_names() -> list[str]:
    """Every name that `known_config` answers, the bundled models first."""
    return [*_BUNDLED, *_KNOWN]


def bundled_folder(name: str) -> Path | None:
    """The folder of a bundled model with trained weights; None for any other name."""
    return _BUNDLED_FOLDER / _BUNDLED[name.lower()] if name.lower() in _BUNDLED else None


def short_name(name: str) -> str | None:
    """The short name of a known model that is given by it or by its hub id, in any case."""
    lowered = name.lower()
    if lowered in _KNOWN:
        return lowered
    return next((short for short, (hub, _) in _KNOWN.items() if hub.lower() == lowered), None)


def hub_id(name: str) -> str:
    """The hub id of a model: that of a known name, else the name itself."""
    short = short_name(name)
    return name if short is None else _KNOWN[short][0]


def known_config_json(name: str) -> dict[str, Any]:
    """The `config.json` fields of a known model; raises UnknownNameError with the nearest names."""
    folder = bundled_folder(name)
    if folder is not None:
        return read_config_json(folder)
    short = short_name(name)
    if short is None:
        raise UnknownNameError(
            "model", name, known_names(), "Or give a folder in the Hugging Face layout."
        )
    return dict(_KNOWN[short][1])


def known_config(name: str) -> ModelConfig:
    """The config of a known model; raises UnknownNameError with the nearest names."""
    folder = bundled_folder(name)
    resolved = folder.name if folder is not None else short_name(name)
    return ModelConfig.from_hugging_face(known_config_json(name), resolved or name)
