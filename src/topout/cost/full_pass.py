"""One forward pass as an implementation without causal savings runs it, for comparing counts."""

from topout.cost.ops import Op
from topout.cost.transformer import (
    encoder_ops,
    head_ops,
    pass_ops,
    source_projection_ops,
)
from topout.models.architecture import Architecture


def full_pass_flops(architecture: Architecture, batch_size: int, length: int) -> dict[str, int]:
    """FLOPs by kind ("product", "convolution"): all positions get logits, no mask saves work.

    `length` tokens in each row, on both sides of an encoder-decoder; image models have their own.
    """
    if architecture.kind == "image":
        length = architecture.context_len or 1
    ops: list[Op] = []
    if architecture.kind != "decoder":
        ops += encoder_ops(architecture, batch_size, length)
    if architecture.kind == "encoder_decoder":
        ops += source_projection_ops(architecture, batch_size, length)
    if architecture.kind in ("decoder", "encoder_decoder"):
        ops += pass_ops(
            architecture,
            batch_size=batch_size,
            new_tokens=length,
            context_len=length,
            logits_rows=length,
            source_len=length,
        )
    else:
        ops += head_ops(architecture, batch_size, length)
    linear = sum(op.flops for op in ops if op.kind == "linear")
    return {
        "product": round(linear) + _full_attention(architecture, batch_size, length),
        "convolution": round(sum(op.flops for op in ops if op.kind == "convolution")),
    }


def _full_attention(architecture: Architecture, batch_size: int, length: int) -> int:
    """4 FLOPs per pair of query and key and element of a head, of every attention."""
    widths = sum(
        block.count
        * (
            block.attention.query_width
            + (block.cross_attention.query_width if block.cross_attention else 0)
        )
        for block in architecture.blocks
    )
    return 4 * batch_size * length * length * widths
