"""Gemma 1, 2 and 3, those without vision."""

from topout.models.known_shapes.sizes import ConfigJson, KnownShapes, sizes

_GEMMA: ConfigJson = {
    "model_type": "gemma",
    "hidden_act": "gelu_pytorch_tanh",
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
}
_GEMMA2: ConfigJson = _GEMMA | {
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
