"""FLOPs and bytes of the blocks of a transformer, op by op.

A multiply-add is 2 FLOPs. Attention is fused: it reads queries, keys and values and writes its
output, no matrix of scores. Causal attention is counted as what the mask leaves: in a prefill of
S tokens, S·(S+1)/2 pairs of query and key. Elementwise ops count one FLOP per element that they
read. B batch, S new tokens, T keys they see, C width, L blocks, E experts.
"""

import msgspec

from topout.cost.ops import Op
from topout.models.architecture import Attention, Block, Mlp

SCORES = "_scores"  # what the op of attention's scores is called after attention


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


class ExtraTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What an implementation does more often than it must."""

    gelu_passes: int = 1  # walks over the MLP's activations
    kv_copies: float = 0.0  # copies of the whole KV cache
    score_passes: int = 0  # walks over the matrix of attention's scores; 0: attention is fused


def block_ops(
    block: Block, step: Pass, extra_traffic: ExtraTraffic, extra_norms: int = 0
) -> list[Op]:
    """The ops of all blocks of a stack, in the order in which a block runs them."""
    scores = extra_traffic.score_passes
    ops = [_norms(block, step.tokens, extra_norms), *_self_attention(block, step, scores)]
    if block.cross_attention is not None:
        ops += _cross_attention(block, block.cross_attention, step, scores)
    ops += _mlp(block, step.tokens, extra_traffic)
    sums = 2 + (block.cross_attention is not None)
    walked = block.count * sums * step.tokens * block.width
    ops.append(
        elementwise_op(
            "residuals", "residuals", block.count * sums, 2 * walked, walked, step.tokens
        )
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
    """Experts that at least one of `tokens` goes to."""
    return expected_experts(mlp.experts, mlp.experts_per_token, tokens)


def expected_experts(experts: int, chosen: int, tokens: float) -> float:
    """Of E experts those that T tokens go to, each of which chooses k at random: E(1−(1−k/E)^T)."""
    missed: float = (1 - chosen / experts) ** tokens
    return experts * (1 - missed)


def _self_attention(block: Block, step: Pass, score_passes: int) -> list[Op]:
    attention, shapes = block.attention, linear_shapes(block)
    ops = [linear_op("qkv", "attention", block.count, step.tokens, *shapes["qkv"])]
    turned = step.tokens * (attention.query_width + attention.kv_width) * block.count
    if attention.qk_norm:
        ops.append(
            elementwise_op("qk_norms", "norms", 2 * block.count, turned, turned, step.tokens)
        )
    if attention.projected_distances:  # one for each new token; those of before are kept
        shape = (step.new_tokens, attention.query_width, block.width)
        ops.append(linear_op("distances", "attention", block.count, *shape))
    if attention.rotary:
        ops.append(elementwise_op("rope", "attention", block.count, turned, turned, step.tokens))
    # What the first new token's window reaches back to is read; the new keys are written.
    window = attention.window or step.context_len
    seen = min(step.context_len, window - 1 + step.new_tokens)
    ops += _attention("attention", block, attention, step, seen, step.new_tokens, score_passes)
    ops.append(
        linear_op("attention_out", "attention", block.count, step.tokens, *shapes["attention_out"])
    )
    return ops


def _cross_attention(block: Block, cross: Attention, step: Pass, score_passes: int) -> list[Op]:
    width, count = block.width, block.count
    return [
        linear_op("cross_q", "cross_attention", count, step.tokens, cross.query_width, width),
        *_attention("cross_attention", block, cross, step, step.source_len, 0, score_passes),
        linear_op("cross_out", "cross_attention", count, step.tokens, width, cross.query_width),
    ]


def _attention(
    name: str,
    block: Block,
    attention: Attention,
    step: Pass,
    keys: int,
    written: int,
    score_passes: int,
) -> list[Op]:
    """Scores and their product with the values: 2 FLOPs each per pair and element of a head.

    Where it is not fused all pairs are multiplied, and their scores are walked over in memory.
    """
    batch, new = step.batch_size, step.new_tokens
    square = new * keys
    pairs = (
        square
        if attention.cross or score_passes
        else attended_pairs(new, step.context_len, attention.window, attention.causal)
    )
    # An encoder keeps no cache: its keys and values are activations that are read once.
    moved = 2.0 * block.count * batch * attention.kv_width * (keys + written)
    queries_and_output = 2.0 * block.count * step.tokens * attention.query_width
    cached = attention.causal or attention.cross
    core = Op(
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
    if not score_passes:
        return [core]
    walked = score_passes * block.count * batch * attention.heads * square
    scores = elementwise_op(f"{name}{SCORES}", core.part, block.count, walked, 0, new)
    return [core, scores]


def _mlp(block: Block, tokens: int, extra_traffic: ExtraTraffic) -> list[Op]:
    mlp, count = block.mlp, block.count
    shapes = linear_shapes(block)
    inputs = 2 if mlp.gated else 1
    chosen = tokens * (mlp.experts_per_token if mlp.experts else 1)
    walked = extra_traffic.gelu_passes * count * chosen * mlp.width
    activation = elementwise_op("activation", "mlp", count, inputs * walked, walked, chosen)
    if not mlp.experts:
        return [
            linear_op("mlp_up", "mlp", count, tokens, *shapes["mlp_up"]),
            activation,
            linear_op("mlp_down", "mlp", count, tokens, *shapes["mlp_down"]),
        ]
    return [
        linear_op("router", "router", count, tokens, mlp.experts, block.width),
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
        linear_op("shared_up", "mlp", count, tokens, inputs * mlp.shared_width, width),
        elementwise_op("shared_activation", "mlp", count, inputs * walked, walked, tokens),
        linear_op("shared_down", "mlp", count, tokens, width, mlp.shared_width),
        linear_op("shared_gate", "router", count, tokens, 1, width),
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
    return elementwise_op("norms", "norms", number, walked, walked, tokens)


def linear_op(name: str, part: str, count: int, rows: int, n: int, k: int) -> Op:
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


def elementwise_op(name: str, part: str, count: int, read: float, written: float, rows: int) -> Op:
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
