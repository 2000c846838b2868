"""What one device holds and sends when a model is split over several by tensor parallelism.

As Megatron-LM does it (arXiv 1909.08053): Q, K, V and the MLP's first matrix by columns, the
attention's output and the MLP's second matrix by rows, so that a block ends in two all-reduces.
"""

import math

import msgspec

from topout.cost.ops import Op
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture, Attention, Block, Head


def tensor_parallel_share(
    architecture: Architecture, devices: int, *, split_head: bool = True
) -> Architecture:
    """One device's part of `architecture`; its norms and residuals stay whole.

    Key/value heads fewer than devices are held more than once. `split_head` divides the rows of
    the vocabulary, embedding included. Raises InputError where heads or widths do not divide,
    UnsupportedError for convolutional networks.
    """
    if devices < 1:
        raise InputError(f"--tp {devices} is not a number of devices.", "Give 1 or more.")
    if devices == 1:
        return architecture
    if not architecture.blocks:
        raise UnsupportedError(
            f"{architecture.name}: tensor parallelism is for transformers.", "Leave --tp at 1."
        )
    heads = [_split_head(head, devices) if split_head else head for head in architecture.heads]
    return msgspec.structs.replace(
        architecture,
        blocks=[_split_block(architecture.name, block, devices) for block in architecture.blocks],
        heads=heads,
    )


def tensor_parallel_ops(
    architecture: Architecture, tokens: int, rows: int, *, split_head: bool = True
) -> list[Op]:
    """The collectives of a pass of `tokens`: all-reduces in each block, the logits gathered.

    A block sums its attention's output and its MLP's, and cross-attention's where it has one.
    """
    reduces = sum(
        block.count * (2 + (block.cross_attention is not None)) for block in architecture.blocks
    )
    width = architecture.width
    ops = [
        Op(
            name="all_reduce",
            part="communication",
            kind="collective",
            count=reduces,
            shape=f"{tokens}×{width}",
            flops=0.0,
            activation_elements=float(reduces * tokens * width),
        )
    ]
    if split_head:
        gathered = [head for head in architecture.heads if head.per == "token"]
        ops += [
            Op(
                name="all_gather",
                part="communication",
                kind="collective",
                count=1,
                shape=f"{rows}×{head.outputs}",
                flops=0.0,
                activation_elements=float(rows * head.outputs),
            )
            for head in gathered
        ]
    return ops


def _split_block(name: str, block: Block, devices: int) -> Block:
    mlp, cross = block.mlp, block.cross_attention
    attention = _split_attention(name, block.attention, devices)
    if mlp.width % devices or mlp.shared_width % devices:
        raise InputError(
            f"{name}: {devices} devices do not divide the MLP's width {mlp.width}.",
            "Choose another --tp.",
        )
    return msgspec.structs.replace(
        block,
        attention=attention,
        cross_attention=None if cross is None else _split_attention(name, cross, devices),
        mlp=msgspec.structs.replace(
            mlp, width=mlp.width // devices, shared_width=mlp.shared_width // devices
        ),
    )


def _split_attention(name: str, attention: Attention, devices: int) -> Attention:
    heads, kv_heads = attention.heads, attention.kv_heads
    if heads % devices:
        raise InputError(
            f"{name}: {devices} devices do not divide its {heads} heads.",
            f"Choose --tp among the divisors of {heads}.",
        )
    if kv_heads % devices and devices % kv_heads:
        raise InputError(
            f"{name}: its {kv_heads} key/value heads and {devices} devices do not divide.",
            f"Choose --tp among the divisors or multiples of {kv_heads}.",
        )
    return msgspec.structs.replace(
        attention, heads=heads // devices, kv_heads=max(1, kv_heads // devices)
    )


def _split_head(head: Head, devices: int) -> Head:
    # The vocabulary is padded to a multiple of the devices.
    if head.per != "token":
        return head
    return msgspec.structs.replace(head, outputs=math.ceil(head.outputs / devices))
