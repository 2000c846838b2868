"""One forward pass with logits of all positions: that of training, and of a second count."""

from topout.cost.ops import Op
from topout.cost.transformer import (
    encoder_ops,
    head_ops,
    pass_ops,
    source_projection_ops,
)
from topout.models.architecture import Architecture


def full_pass_ops(architecture: Architecture, batch_size: int, length: int) -> list[Op]:
    """The ops of a pass in which all positions get logits, as in training.

    `length` tokens in each row, on both sides of an encoder-decoder.
    """
    ops: list[Op] = []
    if architecture.kind != "decoder":
        ops += encoder_ops(architecture, batch_size, length)
    if architecture.kind == "encoder_decoder":
        ops += source_projection_ops(architecture, batch_size, length)
    if architecture.kind not in ("decoder", "encoder_decoder"):
        return ops + head_ops(architecture, batch_size, length)
    return ops + pass_ops(
        architecture,
        batch_size=batch_size,
        new_tokens=length,
        context_len=length,
        logits_rows=length,
        source_len=length if architecture.kind == "encoder_decoder" else 0,
    )


def full_pass_flops(architecture: Architecture, batch_size: int, length: int) -> dict[str, int]:
    """FLOPs of such a pass by kind ("product", "convolution") where no mask saves work.

    Image models have a length of their own.
    """
    if architecture.kind == "image":
        length = architecture.context_len or 1
    ops = full_pass_ops(architecture, batch_size, length)
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
