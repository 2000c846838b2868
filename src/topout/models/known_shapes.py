"""The published shapes of known models, as fields of their `config.json`, family by family.

Sources: the `config.json` of the hub id beside each entry. Where that file states no `torch_dtype`,
as those of GPT-2 and the encoders, it is what the weights are stored in. The files of BERT, RoBERTa
and DistilBERT name the masked-language class that they were trained as; here they are the encoders
that a task's head is put on.
"""

from typing import Any

ConfigJson = dict[str, Any]  # of a config.json
KnownShapes = dict[str, tuple[str, ConfigJson]]  # short name → (hub id, fields of config.json)


def sizes(width: int, mlp_width: int, layers: int, heads: int, kv_heads: int) -> ConfigJson:
    """The sizes of a decoder; `kv_heads` share its keys and values."""
    return _encoder_sizes(width, mlp_width, layers, heads) | {"num_key_value_heads": kv_heads}


def _encoder_sizes(width: int, mlp_width: int, layers: int, heads: int) -> ConfigJson:
    """The sizes of an encoder, in which every head has keys and values of its own."""
    return {
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


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
        "torch_dtype": "float32",
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


def _t5(width: int, mlp_width: int, head_size: int, heads: int, layers: int) -> ConfigJson:
    return {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": width,
        "d_ff": mlp_width,
        "d_kv": head_size,
        "num_heads": heads,
        "num_layers": layers,
        "relative_attention_num_buckets": 32,
        "layer_norm_epsilon": 1e-6,
        "torch_dtype": "float32",
    }


def _flan_t5(width: int, mlp_width: int, heads: int, layers: int) -> ConfigJson:
    gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    return _t5(width, mlp_width, 64, heads, layers) | gated


def _resnet(layer_type: str, hidden_sizes: list[int], depths: list[int]) -> ConfigJson:
    return _IMAGENET | {
        "model_type": "resnet",
        "layer_type": layer_type,
        "embedding_size": 64,
        "hidden_sizes": hidden_sizes,
        "depths": depths,
        "downsample_in_first_stage": False,
        "hidden_act": "relu",
    }


_TIED: ConfigJson = {"tie_word_embeddings": True}
_IN_BF16: ConfigJson = {"torch_dtype": "bfloat16"}


_LLAMA2: ConfigJson = {
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}
_LLAMA3 = _LLAMA2 | {
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500_000.0,
}
_LLAMA31 = _LLAMA3 | _llama3_scaling(8.0)
_LLAMA32 = _LLAMA3 | _llama3_scaling(32.0) | _TIED
_SMOLLM2 = _LLAMA2 | _TIED | _IN_BF16 | {"vocab_size": 49152, "max_position_embeddings": 8192}
_MISTRAL = _LLAMA2 | {
    "torch_dtype": "bfloat16",
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
    "llama-2-7b": ("meta-llama/Llama-2-7b-hf", _LLAMA2 | sizes(4096, 11008, 32, 32, 32)),
    "llama-2-13b": ("meta-llama/Llama-2-13b-hf", _LLAMA2 | sizes(5120, 13824, 40, 40, 40)),
    "llama-2-70b": ("meta-llama/Llama-2-70b-hf", _LLAMA2 | _70B),
    "llama-3-8b": ("meta-llama/Meta-Llama-3-8B", _LLAMA3 | _8B),
    "llama-3-70b": ("meta-llama/Meta-Llama-3-70B", _LLAMA3 | _70B),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B", _LLAMA31 | _8B),
    "llama-3.1-70b": ("meta-llama/Llama-3.1-70B", _LLAMA31 | _70B),
    "llama-3.1-405b": ("meta-llama/Llama-3.1-405B", _LLAMA31 | sizes(16384, 53248, 126, 128, 8)),
    "llama-3.2-1b": ("meta-llama/Llama-3.2-1B", _LLAMA32 | sizes(2048, 8192, 16, 32, 8)),
    "llama-3.2-3b": ("meta-llama/Llama-3.2-3B", _LLAMA32 | sizes(3072, 8192, 28, 24, 8)),
    "tinyllama-1.1b": (
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        _LLAMA2 | _IN_BF16 | sizes(2048, 5632, 22, 32, 4) | {"max_position_embeddings": 2048},
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


_QWEN2 = _LLAMA2 | {
    "torch_dtype": "bfloat16",
    "model_type": "qwen2",
    "vocab_size": 151936,
    "max_position_embeddings": 131072,
    "rope_theta": 1_000_000.0,
    "rms_norm_eps": 1e-6,
}
_QWEN3 = _QWEN2 | {"model_type": "qwen3", "max_position_embeddings": 40960, "head_dim": 128}
_QWEN_32K = {"max_position_embeddings": 32768}
_PADDED_VOCABULARY = {"vocab_size": 152064}  # the larger models pad their vocabulary further
_PADDED_VOCABULARY_25 = _PADDED_VOCABULARY | {"rms_norm_eps": 1e-5}
_QWEN_500M = _TIED | sizes(896, 4864, 24, 14, 2)
_QWEN_1500M = _TIED | sizes(1536, 8960, 28, 12, 2)
_QWEN_7B = sizes(3584, 18944, 28, 28, 4) | _PADDED_VOCABULARY

QWEN: KnownShapes = {
    "qwen2-0.5b": ("Qwen/Qwen2-0.5B", _QWEN2 | _QWEN_500M),
    "qwen2-1.5b": ("Qwen/Qwen2-1.5B", _QWEN2 | _QWEN_1500M),
    "qwen2-7b": ("Qwen/Qwen2-7B", _QWEN2 | _QWEN_7B),
    "qwen2.5-0.5b": ("Qwen/Qwen2.5-0.5B", _QWEN2 | _QWEN_500M | _QWEN_32K),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B", _QWEN2 | _QWEN_1500M),
    "qwen2.5-3b": ("Qwen/Qwen2.5-3B", _QWEN2 | _TIED | sizes(2048, 11008, 36, 16, 2) | _QWEN_32K),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B", _QWEN2 | _QWEN_7B),
    "qwen2.5-14b": (
        "Qwen/Qwen2.5-14B",
        _QWEN2 | _PADDED_VOCABULARY_25 | sizes(5120, 13824, 48, 40, 8),
    ),
    "qwen2.5-32b": (
        "Qwen/Qwen2.5-32B",
        _QWEN2 | _PADDED_VOCABULARY_25 | sizes(5120, 27648, 64, 40, 8),
    ),
    "qwen2.5-72b": (
        "Qwen/Qwen2.5-72B",
        _QWEN2 | _PADDED_VOCABULARY_25 | sizes(8192, 29568, 80, 64, 8),
    ),
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B", _QWEN3 | _TIED | sizes(1024, 3072, 28, 16, 8)),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B", _QWEN3 | _TIED | sizes(2048, 6144, 28, 16, 8)),
    "qwen3-4b": ("Qwen/Qwen3-4B", _QWEN3 | _TIED | sizes(2560, 9728, 36, 32, 8)),
    "qwen3-8b": ("Qwen/Qwen3-8B", _QWEN3 | sizes(4096, 12288, 36, 32, 8)),
    "qwen3-14b": ("Qwen/Qwen3-14B", _QWEN3 | sizes(5120, 17408, 40, 40, 8)),
    "qwen3-32b": ("Qwen/Qwen3-32B", _QWEN3 | sizes(5120, 25600, 64, 64, 8)),
}


_GEMMA: ConfigJson = {
    "model_type": "gemma",
    "hidden_act": "gelu_pytorch_tanh",
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "torch_dtype": "bfloat16",
}
_GEMMA2: ConfigJson = _GEMMA | {
    "torch_dtype": "float32",  # of these, not of those tuned to instructions
    "model_type": "gemma2",
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 4096,
}
_GEMMA3_1B: ConfigJson = {
    "model_type": "gemma3_text",
    "hidden_activation": "gelu_pytorch_tanh",
    "vocab_size": 262144,
    "max_position_embeddings": 32768,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
}

GEMMA: KnownShapes = {
    "gemma-2b": ("google/gemma-2b", _GEMMA | sizes(2048, 16384, 18, 8, 1)),
    "gemma-7b": ("google/gemma-7b", _GEMMA | sizes(3072, 24576, 28, 16, 16)),
    "gemma-2-2b": ("google/gemma-2-2b", _GEMMA2 | sizes(2304, 9216, 26, 8, 4)),
    "gemma-2-9b": ("google/gemma-2-9b", _GEMMA2 | sizes(3584, 14336, 42, 16, 8)),
    "gemma-2-27b": (
        "google/gemma-2-27b",
        _GEMMA2 | sizes(4608, 36864, 46, 32, 16) | {"head_dim": 128},
    ),
    "gemma-3-1b": ("google/gemma-3-1b-pt", _GEMMA3_1B | sizes(1152, 6912, 26, 4, 1)),
}


_MIXTRAL: ConfigJson = _LLAMA2 | {
    "torch_dtype": "bfloat16",
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "rope_theta": 1_000_000.0,
    "sliding_window": None,
}
_QWEN3_MOE = _QWEN3 | {
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
        _QWEN2
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


_BERT: ConfigJson = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "torch_dtype": "float32",
}
_ROBERTA: ConfigJson = {
    "model_type": "roberta",
    "hidden_act": "gelu",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "torch_dtype": "float32",
}
_XLM_ROBERTA: ConfigJson = _ROBERTA | {"model_type": "xlm-roberta", "vocab_size": 250002}
_DISTILBERT: ConfigJson = {
    "model_type": "distilbert",
    "activation": "gelu",
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "dim": 768,
    "hidden_dim": 3072,
    "n_layers": 6,
    "n_heads": 12,
    "torch_dtype": "float32",
}
_CASED: ConfigJson = {"vocab_size": 28996}
_BERT_BASE, _BERT_LARGE = _encoder_sizes(768, 3072, 12, 12), _encoder_sizes(1024, 4096, 24, 16)

ENCODERS: KnownShapes = {
    "bert-base-uncased": ("google-bert/bert-base-uncased", _BERT | _BERT_BASE),
    "bert-large-uncased": ("google-bert/bert-large-uncased", _BERT | _BERT_LARGE),
    "bert-base-cased": ("google-bert/bert-base-cased", _BERT | _BERT_BASE | _CASED),
    "bert-large-cased": ("google-bert/bert-large-cased", _BERT | _BERT_LARGE | _CASED),
    "distilbert-base-uncased": ("distilbert/distilbert-base-uncased", _DISTILBERT),
    "roberta-base": ("FacebookAI/roberta-base", _ROBERTA | _BERT_BASE),
    "roberta-large": ("FacebookAI/roberta-large", _ROBERTA | _BERT_LARGE),
    "xlm-roberta-base": ("FacebookAI/xlm-roberta-base", _XLM_ROBERTA | _BERT_BASE),
    "xlm-roberta-large": ("FacebookAI/xlm-roberta-large", _XLM_ROBERTA | _BERT_LARGE),
    "t5-small": ("google-t5/t5-small", _t5(512, 2048, 64, 8, 6)),
    "t5-base": ("google-t5/t5-base", _t5(768, 3072, 64, 12, 12)),
    "t5-large": ("google-t5/t5-large", _t5(1024, 4096, 64, 16, 24)),
    "t5-3b": ("google-t5/t5-3b", _t5(1024, 16384, 128, 32, 24)),
    "t5-11b": ("google-t5/t5-11b", _t5(1024, 65536, 128, 128, 24)),
    "flan-t5-small": ("google/flan-t5-small", _flan_t5(512, 1024, 6, 8)),
    "flan-t5-base": ("google/flan-t5-base", _flan_t5(768, 2048, 12, 12)),
    "flan-t5-large": ("google/flan-t5-large", _flan_t5(1024, 2816, 16, 24)),
    "flan-t5-xl": ("google/flan-t5-xl", _flan_t5(2048, 5120, 32, 24)),
    "flan-t5-xxl": ("google/flan-t5-xxl", _flan_t5(4096, 10240, 64, 24)),
}


_IMAGENET: ConfigJson = {
    "num_channels": 3,
    "num_labels": 1000,  # the files name each label
    "torch_dtype": "float32",
}
_VIT: ConfigJson = _IMAGENET | {
    "model_type": "vit",
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 16,
    "qkv_bias": True,
    "layer_norm_eps": 1e-12,
}
_RESNET_NARROW, _RESNET_WIDE = [64, 128, 256, 512], [256, 512, 1024, 2048]

IMAGE_MODELS: KnownShapes = {
    "vit-base-patch16-224": (
        "google/vit-base-patch16-224",
        _VIT | _encoder_sizes(768, 3072, 12, 12),
    ),
    "vit-large-patch16-224": (
        "google/vit-large-patch16-224",
        _VIT | _encoder_sizes(1024, 4096, 24, 16),
    ),
    "resnet-18": ("microsoft/resnet-18", _resnet("basic", _RESNET_NARROW, [2, 2, 2, 2])),
    "resnet-34": ("microsoft/resnet-34", _resnet("basic", _RESNET_NARROW, [3, 4, 6, 3])),
    "resnet-50": ("microsoft/resnet-50", _resnet("bottleneck", _RESNET_WIDE, [3, 4, 6, 3])),
    "resnet-101": ("microsoft/resnet-101", _resnet("bottleneck", _RESNET_WIDE, [3, 4, 23, 3])),
    "resnet-152": ("microsoft/resnet-152", _resnet("bottleneck", _RESNET_WIDE, [3, 8, 36, 3])),
}
