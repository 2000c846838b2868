"""A decoder whose sizes are easy to count by hand."""

from typing import Any

import msgspec

from topout.models.config import ModelConfig

# Weights: qkv 30·10 = 300, out 10·10 = 100, up 40·10 = 400, down 10·40 = 400: 1200 per layer,
# 2400 in both; head 100·10 = 1000; 3400 together.
SMALL = ModelConfig(
    name="small",
    architecture="gpt2",
    layers=2,
    width=10,
    heads=2,
    kv_heads=2,
    head_size=5,
    mlp_width=40,
    vocab_size=100,
    context_len=64,
    norm="layer_norm",
    norm_eps=1e-5,
    activation="gelu",
    gated_mlp=False,
    positions="learned",
    qkv_bias=True,
    attention_bias=True,
    mlp_bias=True,
    tied_head=True,
)


def small(**changes: Any) -> ModelConfig:
    """SMALL with some fields changed."""
    return msgspec.structs.replace(SMALL, **changes)
