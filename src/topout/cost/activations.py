"""What autograd keeps of a block or a convolution until its backward pass, tensor by tensor.

Of one transformer block:

n = b·s tokens, h width, q = a·d and k·d widths of queries and of keys or values, f MLP width,
e bytes of an activation, m bytes of an element of a dropout mask. A product keeps its input (its
weight is a parameter), a norm its input and statistics, a softmax its output, a dropout its mask.
A sum keeps nothing. A tensor that two ops keep is there once.

| kept | fused | more in eager PyTorch |
|---|---|---|
| input of each norm | n·h·e | RMS: in fp32, and normalised n·h·e |
| statistics of each norm | layer: 2 numbers a token; RMS: 4·n | |
| input of Q, K, V (one tensor) | n·h·e | |
| Q and K before norms of their heads | n·(q + k·d)·e, 4·n·(a + k) | as the RMS norm above |
| Q; K and V | n·q·e; 2·n·k·d·e | unfused: K and V repeated to q |
| fused attention: log-sum-exp | 4·b·a·s | |
| unfused: softmax | b·a·s²·e | most families: in fp32, and without dropout narrowed |
| unfused, dropout: mask and result | b·a·s²·(m + e) | |
| input of the output projection | n·q·e | |
| dropout of each residual branch | n·h·m | |
| input of the MLP (one tensor) | n·h·e | |
| input of the activation | n·f·e; ReLU: none | tanh-GELU written out: 4·n·f·e |
| gated: the other factor | n·f·e | the activation's output n·f·e |
| input of the second matrix | n·f·e | |
| experts: rows sent and returned | 2·n·k·h·e, all with n·k for n | |

For multi-head attention, GELU, f = 4h, dropout, e = 2 and m = 1 the sum is sbh(34 + 5as/h), which
arXiv 2205.05198 derives, and the statistics, which it leaves out.

Of a convolutional network: a convolution keeps its input, a batch norm its input and, per channel,
mean and deviation, a ReLU its output. The ReLU's output is the next convolution's input: it is
there once. The two branches that a residual layer ends in share one ReLU, which is counted with the
main branch. Max-pooling keeps the int64 index of each number that it passes on.
"""

import math

import msgspec

from topout.cost.saved_tensors import (
    FP32_BYTES,
    INDEX_BYTES,
    SavedTensor,
    Stream,
    query_length,
    stream,
)
from topout.cost.training import TrainingStep
from topout.models.architecture import Architecture, Attention, Block, Convolution, Mlp

_STATISTICS = 2  # mean and inverse deviation


def block_activations(
    architecture: Architecture, block: Block, step: TrainingStep
) -> list[SavedTensor]:
    """All that is kept of one block of a stack, without recomputation.

    Formula: the table at the head of this module. `architecture` is whole, or one device's part.
    """
    length = query_length(architecture, step, decoder_side=block.attention.causal)
    tokens = stream(architecture, step, length)
    # Learned biases of distances are added to the scores: no fused kernel takes their gradient.
    biased = any(each.attention.relative_buckets for each in architecture.blocks)
    fused = step.fused_attention and not biased
    tensors = tokens.norm("norm", block.norm, block.width) * block.norms
    tensors.append(tokens.along_tokens("attention.input", block.width))
    tensors += _attention(tokens, block.attention, "attention", length, fused=fused)
    tensors += _branch_dropout(tokens, "attention", block.width)
    if block.cross_attention is not None:
        # Its keys and values come from the encoder's output, which is kept once for all blocks.
        tensors.append(tokens.along_tokens("cross_attention.input", block.width))
        tensors += _attention(
            tokens,
            block.cross_attention,
            "cross_attention",
            step.sequence_len,
            fused=step.fused_attention,
        )
        tensors += _branch_dropout(tokens, "cross_attention", block.width)
    tensors.append(tokens.along_tokens("mlp.input", block.width))
    if block.mlp.experts:
        tensors += _experts(tokens, block.mlp, block.width)
    else:
        tensors += _mlp(tokens, block.mlp)
    return tensors + tokens.dropout_mask("mlp.dropout", block.width)


def block_input(architecture: Architecture, block: Block, step: TrainingStep) -> SavedTensor:
    """All that is kept of a block that is computed again."""
    length = query_length(architecture, step, decoder_side=block.attention.causal)
    return stream(architecture, step, length).along_tokens("block.input", block.width)


def _branch_dropout(tokens: Stream, name: str, width: int) -> list[SavedTensor]:
    if tokens.eager and not tokens.traits.dropout_after_attention:
        return []
    return tokens.dropout_mask(f"{name}.dropout", width)


def _attention(
    tokens: Stream, attention: Attention, name: str, keys: int, *, fused: bool
) -> list[SavedTensor]:
    """Between the input of the projections and that of the output projection, inclusive."""
    key_tokens = tokens.batch * keys
    kv_width = attention.kv_width
    if tokens.eager and not fused:
        kv_width = attention.query_width
    tensors = _head_norms(tokens, attention, name) if attention.qk_norm else []
    tensors += [
        tokens.across_devices(f"{name}.queries", attention.query_width),
        SavedTensor(
            name=f"{name}.keys_and_values",
            elements=2 * key_tokens * kv_width,
            element_bytes=tokens.element_bytes,
        ),
    ]
    if fused:  # the logarithm of each query's sum of exponentials, whatever the keys
        tensors.append(
            SavedTensor(
                name=f"{name}.log_sum_exp",
                elements=tokens.tokens * attention.heads,
                element_bytes=FP32_BYTES,
                core=True,
            )
        )
    else:
        tensors += _unfused_core(tokens, name, attention.heads, keys)
    return [*tensors, tokens.across_devices(f"{name}.output", attention.query_width)]


def _head_norms(tokens: Stream, attention: Attention, name: str) -> list[SavedTensor]:
    """RMS norms of each query and key head; they lie with their heads, not along the tokens."""
    parts = (("query_norm", attention.heads), ("key_norm", attention.kv_heads))
    return [
        msgspec.structs.replace(tensor, sequence=False)
        for part, heads in parts
        for tensor in tokens.norm(f"{name}.{part}", "rms_norm", attention.head_size, heads)
    ]


def _unfused_core(tokens: Stream, name: str, heads: int, keys: int) -> list[SavedTensor]:
    """Softmax, dropout's mask and its result: a number for each pair of query and key."""
    size = tokens.element_bytes
    widened = tokens.eager and tokens.traits.softmax_in_fp32 and size < FP32_BYTES
    sizes = [("softmax", FP32_BYTES if widened else size)]
    # The product with the values reads what comes last: softmax, its narrow copy, or dropout's.
    if tokens.step.dropout:
        sizes += [("dropout_mask", tokens.step.mask_bytes), ("dropped_softmax", size)]
    elif widened:
        sizes.append(("narrowed_softmax", size))
    pairs = tokens.tokens * keys * heads
    return [
        SavedTensor(name=f"{name}.{part}", elements=pairs, element_bytes=size, core=True)
        for part, size in sizes
    ]


def _mlp(tokens: Stream, mlp: Mlp) -> list[SavedTensor]:
    """Between the MLP's input and its output: the activation's input, a gate, the result."""
    eager, traits = tokens.eager, tokens.traits
    relu = mlp.activation == "relu"
    written_out = eager and traits.written_out_gelu and mlp.activation == "gelu_tanh"
    widths = {"activation_input": 0 if relu else 4 if written_out else 1}
    if mlp.gated:
        # ReLU keeps its output, which is a factor of the product at the same time.
        widths["activation_output"] = 1 if eager or relu else 0
        widths["other_factor"] = 1
    widths["second_input"] = 1
    dropped = eager and traits.dropout_in_mlp and tokens.step.dropout
    if dropped and relu and not mlp.gated:
        widths["activation_output"] = 1  # ReLU's own, now that dropout follows it
    tensors = [
        tokens.across_devices(f"mlp.{name}", count * mlp.width)
        for name, count in widths.items()
        if count
    ]
    if dropped:
        mask = tokens.across_devices("mlp.inner_dropout", mlp.width)
        tensors.append(msgspec.structs.replace(mask, element_bytes=tokens.step.mask_bytes))
    return tensors


def _experts(tokens: Stream, mlp: Mlp, width: int) -> list[SavedTensor]:
    """A mixture of experts: each token goes through `experts_per_token` of them."""
    routed = msgspec.structs.replace(tokens, batch=tokens.batch * mlp.experts_per_token)
    rows = [
        SavedTensor(
            name=f"mlp.rows_{name}",
            elements=routed.tokens * width,
            element_bytes=tokens.element_bytes,
        )
        for name in ("sent", "returned")
    ]
    return [*_router(tokens, mlp), *rows, *_mlp(routed, mlp), *_shared_expert(tokens, mlp, width)]


def _shared_expert(tokens: Stream, mlp: Mlp, width: int) -> list[SavedTensor]:
    """The expert that every token goes through: its MLP, its output, and the gate on it."""
    if not mlp.shared_width:
        return []
    inner = _mlp(tokens, msgspec.structs.replace(mlp, width=mlp.shared_width))
    gated = [("output", width), ("gate", 1)]
    edges = [tokens.along_tokens(f"mlp.shared_{name}", size) for name, size in gated]
    named = [
        msgspec.structs.replace(each, name=each.name.replace("mlp.", "mlp.shared_"))
        for each in inner
    ]
    return named + edges


def _router(tokens: Stream, mlp: Mlp) -> list[SavedTensor]:
    """Probabilities, chosen experts and their weights, and where each row went."""
    n, chosen = tokens.tokens, tokens.tokens * mlp.experts_per_token
    # In fp32 all probabilities; the best ones, their sum, and once more in order of experts.
    # Indices of the best; of the rows in order of experts, three times; ends of the groups (int32).
    numbers = n * mlp.experts + 2 * chosen + n + mlp.experts
    return [
        SavedTensor(name="mlp.router_weights", elements=numbers, element_bytes=FP32_BYTES),
        SavedTensor(name="mlp.router_indices", elements=4 * chosen, element_bytes=INDEX_BYTES),
    ]


def convolution_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """All that is kept of the convolutions; an image model's patch embedding is one of them."""
    if not architecture.convolutions:
        return []
    first = architecture.convolutions[0]
    tensors = [_kept("pixels", _input_elements(first), step)]
    for convolution in architecture.convolutions:
        if convolution.batch_norm:
            tensors += _normalised(convolution, step)
    return tensors + _pooled(architecture.convolutions, step)


def _kept(name: str, elements: int, step: TrainingStep, size: int | None = None) -> SavedTensor:
    """A tensor of so many elements per image."""
    return SavedTensor(
        name=f"convolution.{name}",
        elements=step.batch_size * elements,
        element_bytes=step.element_bytes if size is None else size,
    )


def _normalised(convolution: Convolution, step: TrainingStep) -> list[SavedTensor]:
    """Of all runs of one convolution: what the batch norm after it and the ReLU keep."""
    outputs = convolution.count * _output_elements(convolution)
    statistics = SavedTensor(
        name="convolution.statistics",
        elements=convolution.count * _STATISTICS * convolution.out_channels,
        element_bytes=step.statistic_bytes,
    )
    tensors = [_kept(f"{convolution.name}.norm_input", outputs, step), statistics]
    if not convolution.name.endswith("shortcut"):
        tensors.append(_kept(f"{convolution.name}.relu_output", outputs, step))
    return tensors


def _pooled(convolutions: list[Convolution], step: TrainingStep) -> list[SavedTensor]:
    """What a max-pooling between the first two convolutions keeps; nothing where there is none."""
    if len(convolutions) < 2 or not convolutions[0].batch_norm:
        return []
    before, after = _output_elements(convolutions[0]), _input_elements(convolutions[1])
    if after >= before:
        return []
    return [
        _kept("pooled", after, step),
        _kept("pooling_indices", after, step, INDEX_BYTES),
    ]


def _output_elements(convolution: Convolution) -> int:
    return convolution.out_channels * convolution.out_height * convolution.out_width


def _input_elements(convolution: Convolution) -> int:
    """Of an image whose sides the stride divides."""
    return math.prod(
        (
            convolution.in_channels,
            convolution.out_height * convolution.stride,
            convolution.out_width * convolution.stride,
        )
    )
