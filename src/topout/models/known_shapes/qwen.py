"""Qwen 2, 2.5 and 3, the dense ones."""

from topout.models.known_shapes.decoders import LLAMA2
from topout.models.known_shapes.sizes import TIED, KnownShapes, sizes

QWEN2 = LLAMA2 | {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "max_position_embeddings": 131072,
    "rope_theta": 1_000_000.0,
    "rms_norm_eps": 1e-6,
}
QWEN3 = QWEN2 | {"model_type": "qwen3", "max_position_embeddings": 40960, "head_dim": 128}
_SHORT = {"max_position_embeddings": 32768}
_LARGE = {"vocab_size": 152064}  # the larger models pad their vocabulary further
_LARGE_25 = _LARGE | {"rms_norm_eps": 1e-5}
_500M = TIED | sizes(896, 4864, 24, 14, 2)
_1500M = TIED | sizes(1536, 8960, 28, 12, 2)
_7B = sizes(3584, 18944, 28, 28, 4) | _LARGE

QWEN: KnownShapes = {
    "qwen2-0.5b": ("Qwen/Qwen2-0.5B", QWEN2 | _500M),
    "qwen2-1.5b": ("Qwen/Qwen2-1.5B", QWEN2 | _1500M),
    "qwen2-7b": ("Qwen/Qwen2-7B", QWEN2 | _7B),
    "qwen2.5-0.5b": ("Qwen/Qwen2.5-0.5B", QWEN2 | _500M | _SHORT),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B", QWEN2 | _1500M),
    "qwen2.5-3b": ("Qwen/Qwen2.5-3B", QWEN2 | TIED | sizes(2048, 11008, 36, 16, 2) | _SHORT),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B", QWEN2 | _7B),
    "qwen2.5-14b": ("Qwen/Qwen2.5-14B", QWEN2 | _LARGE_25 | sizes(5120, 13824, 48, 40, 8)),
    "qwen2.5-32b": ("Qwen/Qwen2.5-32B", QWEN2 | _LARGE_25 | sizes(5120, 27648, 64, 40, 8)),
    "qwen2.5-72b": ("Qwen/Qwen2.5-72B", QWEN2 | _LARGE_25 | sizes(8192, 29568, 80, 64, 8)),
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B", QWEN3 | TIED | sizes(1024, 3072, 28, 16, 8)),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B", QWEN3 | TIED | sizes(2048, 6144, 28, 16, 8)),
    "qwen3-4b": ("Qwen/Qwen3-4B", QWEN3 | TIED | sizes(2560, 9728, 36, 32, 8)),
    "qwen3-8b": ("Qwen/Qwen3-8B", QWEN3 | sizes(4096, 12288, 36, 32, 8)),
    "qwen3-14b": ("Qwen/Qwen3-14B", QWEN3 | sizes(5120, 17408, 40, 40, 8)),
    "qwen3-32b": ("Qwen/Qwen3-32B", QWEN3 | sizes(5120, 25600, 64, 64, 8)),
}
