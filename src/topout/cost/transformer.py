"""FLOPs and bytes of one pass of a decoder, op by op.

A multiply-add is 2 FLOPs. Causal attention is counted as what the mask leaves: in a prefill of S
tokens, S·(S+1)/2 pairs of query and key. An embedding is a row that is read, not a product.
B batch, S new tokens, T context after them, C width, L layers, V vocabulary.
"""

from typing import Literal

import msgspec

from topout.models.config import ModelConfig

OpKind = Literal["linear", "attention", "elementwise", "copy"]


class Op(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of op of a pass, summed over the layers that run it."""

    name: str
    kind: OpKind
    count: int  # how often it runs in a pass
    rows: int = 0  # linear: M, the tokens that share the weights
    matrix_elements: int = 0  # linear: N·K of one matrix
    flops: float  # of all runs together
    weight_elements: int = 0  # read, all runs together
    activation_elements: float = 0  # read and written, all runs together


def linear_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """(N, K) of each linear layer of a block, by name; Q, K, V and gate, up are fused."""
    attention_width = config.heads * config.head_size
    kv_width = config.kv_heads * config.head_size
    up = 2 * config.mlp_width if config.gated_mlp else config.mlp_width
    return {
        "qkv": (attention_width + 2 * kv_width, config.width),
        "attention_out": (config.width, attention_width),
        "mlp_up": (up, config.width),
        "mlp_down": (config.width, config.mlp_width),
    }


def pass_ops(
    config: ModelConfig,
    *,
    batch_size: int,
    new_tokens: int,
    context_len: int,
    logits_rows: int,
    gelu_passes: int = 1,
    kv_copies: float = 0.0,
) -> list[Op]:
    """The ops of one pass over `new_tokens` per row, `context_len` keys at its end.

    `logits_rows` positions per row get logits. `gelu_passes` and `kv_copies` say how often an
    implementation walks over the MLP's activations and copies the whole cache.
    """
    tokens = batch_size * new_tokens
    ops = [
        _linear(name, config.layers, tokens, n, k) for name, (n, k) in linear_shapes(config).items()
    ]
    ops.append(_linear("head", 1, batch_size * logits_rows, config.vocab_size, config.width))
    ops.append(_attention(config, batch_size, new_tokens, context_len))
    ops.extend(_elementwise(config, tokens, gelu_passes))
    if kv_copies:
        cached = kv_elements(config, batch_size, context_len)
        ops.append(
            Op(
                name="kv_copy",
                kind="copy",
                count=2 * config.layers,
                flops=0.0,
                activation_elements=2 * kv_copies * cached,  # read and written
            )
        )
    return ops


def _linear(name: str, count: int, rows: int, n: int, k: int) -> Op:
    return Op(
        name=name,
        kind="linear",
        count=count,
        rows=rows,
        matrix_elements=n * k,
        flops=2.0 * count * rows * n * k,
        weight_elements=count * n * k,
        activation_elements=float(count * rows * (n + k)),
    )


def _attention(config: ModelConfig, batch_size: int, new_tokens: int, context_len: int) -> Op:
    """Scores and their product with the values: 2 FLOPs each per pair and element of a head."""
    past = context_len - new_tokens
    pairs = new_tokens * past + new_tokens * (new_tokens + 1) // 2
    per_pair = 4.0 * config.heads * config.head_size
    return Op(
        name="attention",
        kind="attention",
        count=config.layers,
        rows=new_tokens,
        flops=config.layers * batch_size * pairs * per_pair,
        activation_elements=float(kv_elements(config, batch_size, context_len)),
    )


def _elementwise(config: ModelConfig, tokens: int, gelu_passes: int) -> list[Op]:
    """Norms, residual sums and the activation: each walks over its input and writes its output."""
    layers, width = config.layers, config.width
    norms = (2 * layers + 1) * 2 * tokens * width
    residuals = 2 * layers * 3 * tokens * width
    inputs = 2 if config.gated_mlp else 1
    activation = gelu_passes * layers * (inputs + 1) * tokens * config.mlp_width
    return [
        Op(
            name=name,
            kind="elementwise",
            count=count,
            flops=float(elements),
            activation_elements=float(elements),
        )
        for name, count, elements in (
            ("norms", 2 * layers + 1, norms),
            ("residuals", 2 * layers, residuals),
            ("activation", layers, activation),
        )
    ]


def kv_elements(config: ModelConfig, batch_size: int, context_len: int) -> int:
    """Elements of the KV cache: 2 (K and V) · L · kv_heads · head_size per token."""
    return 2 * config.layers * config.kv_heads * config.head_size * context_len * batch_size
