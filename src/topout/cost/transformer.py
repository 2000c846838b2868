"""FLOPs and bytes of a pass of a transformer, op by op.

A multiply-add is 2 FLOPs. Attention is fused: it reads queries, keys and values and writes its
output, no matrix of scores. Causal attention is counted as what the mask leaves: in a prefill of
S tokens, S·(S+1)/2 pairs of query and key. An embedding is a row that is read, not a product.
Elementwise ops count one FLOP per element that they read.
B batch, S new tokens, T keys they see, C width, L blocks, V vocabulary, E experts.
"""

import msgspec

from topout.cost.convolution import convolution_ops
from topout.cost.ops import Op
from topout.models.architecture import Architecture, Attention, Block, Mlp


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that go through the blocks together: `new_tokens` of each of `batch_size` rows.

    `context_len` keys are there at the end of the pass, new ones included; `source_len` are those
    of the encoder, where there is one.
    """

    batch_size: int
    new_tokens: int
    context_len: int
    source_len: int = 0

    @property
    def tokens(self) -> int:
        """All new tokens."""
        return self.batch_size * self.new_tokens


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What an implementation does more often than it must."""

    gelu_passes: int = 1  # walks over the MLP's activations
    kv_copies: float = 0.0  # copies of the whole KV cache


def pass_ops(
    architecture: Architecture,
    *,
    batch_size: int,
    new_tokens: int,
    context_len: int,
    logits_rows: int,
    source_len: int = 0,
    habits: Habits = Habits(),  # noqa: B008 - frozen
) -> list[Op]:
    """The ops of one pass through a decoder; `logits_rows` positions per row get logits.

    Of an encoder and decoder it is the decoder's pass, the encoder's keys and values being cached.
    """
    step = Pass(
        batch_size=batch_size,
        new_tokens=new_tokens,
        context_len=context_len,
        source_len=source_len,
    )
    blocks = generating_blocks(architecture)
    ops = [_embedding(architecture, step.tokens)]
    ops += stacks_ops(architecture, blocks, step, habits)
    if habits.kv_copies:
        cached = habits.kv_copies * kv_elements(architecture, batch_size, context_len)
        ops.append(
            Op(
                name="kv_copy",
                part="attention",
                kind="copy",
                count=2 * sum(block.count for block in blocks),
                shape="the whole cache",
                flops=0.0,
                kv_elements=2 * cached,  # read and written
            )
        )
    return ops + head_ops(architecture, batch_size, logits_rows)


def encoder_ops(architecture: Architecture, batch_size: int, length: int) -> list[Op]:
    """One pass of all tokens of an encoder, or of an image's: B sequences of `length`."""
    step = Pass(batch_size=batch_size, new_tokens=length, context_len=length)
    blocks = [block for block in architecture.blocks if not block.attention.causal]
    ops = convolution_ops(architecture.convolutions, batch_size)
    if architecture.embeddings:
        ops.append(_embedding(architecture, step.tokens))
    return ops + stacks_ops(architecture, blocks, step, Habits())


def source_projection_ops(architecture: Architecture, batch_size: int, source_len: int) -> list[Op]:
    """Keys and values of the encoder's output, once per sequence, for each block that reads it."""
    rows = batch_size * source_len
    return [
        _linear("cross_kv", "cross_attention", block.count, rows, 2 * cross.kv_width, block.width)
        for block in generating_blocks(architecture)
        if (cross := block.cross_attention) is not None
    ]


def generating_blocks(architecture: Architecture) -> list[Block]:
    """The stacks that a decoded token goes through."""
    return [block for block in architecture.blocks if block.attention.causal]


def stacks_ops(
    architecture: Architecture, blocks: list[Block], step: Pass, habits: Habits
) -> list[Op]:
    """The ops of some stacks of blocks, and the norms around them; named apart if they differ."""
    ops: list[Op] = []
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        extra = (architecture.final_norms if last else 0) + (
            1 if number == 0 and architecture.embedding_norm else 0
        )
        found = block_ops(block, step, habits, extra)
        prefix = f"{block.name}." if len(blocks) > 1 else ""
        ops += [msgspec.structs.replace(op, name=prefix + op.name) for op in found]
    return ops


def block_ops(block: Block, step: Pass, habits: Habits, extra_norms: int = 0) -> list[Op]:
    """The ops of all blocks of a stack, in the order in which a block runs them."""
    ops = [_norms(block, step.tokens, extra_norms), *_self_attention(block, step)]
    if block.cross_attention is not None:
        ops += _cross_attention(block, block.cross_attention, step)
    ops += _mlp(block, step.tokens, habits)
    sums = 2 + (block.cross_attention is not None)
    walked = block.count * sums * step.tokens * block.width
    ops.append(
        _elementwise("residuals", "residuals", block.count * sums, 2 * walked, walked, step.tokens)
    )
    return ops


def linear_shapes(block: Block) -> dict[str, tuple[int, int]]:
    """(N, K) of each linear layer of a dense block, by name; Q, K, V and gate, up are fused."""
    attention, mlp, width = block.attention, block.mlp, block.width
    return {
        "qkv": (attention.query_width + 2 * attention.kv_width, width),
        "attention_out": (width, attention.query_width),
        "mlp_up": ((2 if mlp.gated else 1) * mlp.width, width),
        "mlp_down": (width, mlp.width),
    }


def kv_elements(architecture: Architecture, batch_size: int, context_len: int) -> int:
    """Elements of the KV cache: 2 (K and V) · kv_heads · head_size per token and block.

    A block with a window keeps as many tokens as the window has.
    """
    return sum(
        2 * block.count * block.attention.kv_width * batch_size * _kept(block, context_len)
        for block in generating_blocks(architecture)
    )


def attended_pairs(new_tokens: int, context_len: int, window: int | None, causal: bool) -> int:
    """Pairs of query and key that a mask leaves: each of `new_tokens` sees what is before it.

    With a window w a token sees itself and the w - 1 before it; without a mask it sees all.
    """
    if not causal:
        return new_tokens * (min(context_len, window) if window else context_len)
    past = context_len - new_tokens
    if window is None or context_len <= window:
        return new_tokens * past + new_tokens * (new_tokens + 1) // 2
    # Tokens that see less than a whole window: those at positions below it.
    growing = max(0, window - past)
    below = growing * past + growing * (growing + 1) // 2
    return below + (new_tokens - growing) * window


def distinct_experts(mlp: Mlp, tokens: int) -> float:
    """Experts that at least one of `tokens` goes to, if each chooses at random: E(1−(1−k/E)^T)."""
    return mlp.experts * (1 - (1 - mlp.experts_per_token / mlp.experts) ** tokens)


def head_ops(architecture: Architecture, batch_size: int, rows_per_sequence: int) -> list[Op]:
    """The linear layers after the blocks; a classifier looks at one position of a sequence."""
    ops: list[Op] = []
    for head in architecture.heads:
        rows = batch_size * (rows_per_sequence if head.per == "token" else 1)
        ops.append(_linear(head.name, "head", 1, rows, head.outputs, head.inputs))
        if head.norm is not None:
            walked = rows * head.outputs
            ops.append(_elementwise(f"{head.name}.norm", "norms", 1, walked, walked, rows))
    return ops


def _kept(block: Block, context_len: int) -> int:
    window = block.attention.window
    return context_len if window is None else min(context_len, window)


def _linear(name: str, part: str, count: int, rows: int, n: int, k: int) -> Op:
    return Op(
        name=name,
        part=part,
        kind="linear",
        count=count,
        shape=f"{rows}×{k} · {k}×{n}",
        rows=rows,
        matrix_elements=n * k,
        flops=2.0 * count * rows * n * k,
        weight_elements=float(count * n * k),
        activation_elements=float(count * rows * (n + k)),
    )


def _self_attention(block: Block, step: Pass) -> list[Op]:
    attention, shapes = block.attention, linear_shapes(block)
    ops = [_linear("qkv", "attention", block.count, step.tokens, *shapes["qkv"])]
    turned = step.tokens * (attention.query_width + attention.kv_width) * block.count
    if attention.qk_norm:
        ops.append(_elementwise("qk_norms", "norms", 2 * block.count, turned, turned, step.tokens))
    if attention.rotary:
        ops.append(_elementwise("rope", "attention", block.count, turned, turned, step.tokens))
    # What lies in the cache is read, and the new tokens' keys and values are written.
    seen = _kept(block, step.context_len) if step.new_tokens == 1 else step.context_len
    ops.append(_attention("attention", block, attention, step, seen, step.new_tokens))
    ops.append(
        _linear("attention_out", "attention", block.count, step.tokens, *shapes["attention_out"])
    )
    return ops


def _cross_attention(block: Block, cross: Attention, step: Pass) -> list[Op]:
    width, count = block.width, block.count
    return [
        _linear("cross_q", "cross_attention", count, step.tokens, cross.query_width, width),
        _attention("cross_attention", block, cross, step, step.source_len, 0),
        _linear("cross_out", "cross_attention", count, step.tokens, width, cross.query_width),
    ]


def _attention(
    name: str, block: Block, attention: Attention, step: Pass, keys: int, written: int
) -> Op:
    """Scores and their product with the values: 2 FLOPs each per pair and element of a head."""
    batch, new = step.batch_size, step.new_tokens
    pairs = (
        new * keys
        if attention.cross
        else attended_pairs(new, step.context_len, attention.window, attention.causal)
    )
    # An encoder keeps no cache: its keys and values are activations that are read once.
    moved = 2.0 * block.count * batch * attention.kv_width * (keys + written)
    queries_and_output = 2.0 * block.count * step.tokens * attention.query_width
    cached = attention.causal or attention.cross
    return Op(
        name=name,
        part="cross_attention" if attention.cross else "attention",
        kind="attention",
        count=block.count,
        shape=f"{batch}×{attention.heads} heads, {new} × {keys} of {attention.head_size}",
        rows=new,
        flops=4.0 * block.count * batch * pairs * attention.query_width,
        activation_elements=queries_and_output + (0.0 if cached else moved),
        kv_elements=moved if cached else 0.0,
    )


def _mlp(block: Block, tokens: int, habits: Habits) -> list[Op]:
    mlp, count = block.mlp, block.count
    shapes = linear_shapes(block)
    inputs = 2 if mlp.gated else 1
    chosen = tokens * (mlp.experts_per_token if mlp.experts else 1)
    walked = habits.gelu_passes * count * chosen * mlp.width
    activation = _elementwise("activation", "mlp", count, inputs * walked, walked, chosen)
    if not mlp.experts:
        return [
            _linear("mlp_up", "mlp", count, tokens, *shapes["mlp_up"]),
            activation,
            _linear("mlp_down", "mlp", count, tokens, *shapes["mlp_down"]),
        ]
    return [
        _linear("router", "router", count, tokens, mlp.experts, block.width),
        _experts("mlp_up", block, tokens, *shapes["mlp_up"]),
        activation,
        _experts("mlp_down", block, tokens, *shapes["mlp_down"]),
        *_shared_expert(block, tokens),
    ]


def _shared_expert(block: Block, tokens: int) -> list[Op]:
    """The expert that every token goes through, and its gate; none in most mixtures."""
    mlp, count, width = block.mlp, block.count, block.width
    if not mlp.shared_width:
        return []
    inputs = 2 if mlp.gated else 1
    walked = count * tokens * mlp.shared_width
    return [
        _linear("shared_up", "mlp", count, tokens, inputs * mlp.shared_width, width),
        _elementwise("shared_activation", "mlp", count, inputs * walked, walked, tokens),
        _linear("shared_down", "mlp", count, tokens, width, mlp.shared_width),
        _linear("shared_gate", "router", count, tokens, 1, width),
    ]


def _experts(name: str, block: Block, tokens: int, n: int, k: int) -> Op:
    """A linear layer of the experts that are chosen: only their weights are read."""
    mlp, count = block.mlp, block.count
    touched = distinct_experts(mlp, tokens)
    chosen = tokens * mlp.experts_per_token
    rows = max(1, round(chosen / touched))
    return Op(
        name=name,
        part="mlp",
        kind="linear",
        count=count,
        shape=f"{touched:.3g} of {mlp.experts} experts, {rows}×{k} · {k}×{n}",
        rows=rows,
        matrix_elements=n * k,
        flops=2.0 * count * chosen * n * k,
        weight_elements=count * touched * n * k,
        activation_elements=float(count * chosen * (n + k)),
    )


def _norms(block: Block, tokens: int, extra: int) -> Op:
    number = block.count * block.norms + extra
    walked = number * tokens * block.width
    return _elementwise("norms", "norms", number, walked, walked, tokens)


def _elementwise(name: str, part: str, count: int, read: float, written: float, rows: int) -> Op:
    return Op(
        name=name,
        part=part,
        kind="elementwise",
        count=count,
        shape=f"{rows} rows",
        rows=rows,
        flops=float(read),
        activation_elements=float(read + written),
    )


def _embedding(architecture: Architecture, tokens: int) -> Op:
    """Rows of the tables that each token looks up, read, summed and written once."""
    tables = [each for each in architecture.embeddings if each.lookup]
    read = tokens * sum(each.width for each in tables)
    return Op(
        name="embedding",
        part="embedding",
        kind="embedding",
        count=1,
        shape=f"{tokens} rows of {architecture.width}",
        rows=tokens,
        flops=float(tokens * architecture.width * max(0, len(tables) - 1)),
        activation_elements=float(read + tokens * architecture.width),
    )
