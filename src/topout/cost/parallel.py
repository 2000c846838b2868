"""Tensor parallelism: one device's share of a model, and the collectives that join the shares.

As Megatron-LM does it (arXiv 1909.08053): Q, K, V and the MLP's first matrix by columns, the
attention's output and the MLP's second matrix by rows, so that a block ends in two all-reduces.
With sequence parallelism (arXiv 2205.05198) norms and residuals are divided along the sequence,
and each all-reduce is a reduce-scatter and an all-gather of the same buffer.
"""

import math

import msgspec

from topout.cost.ops import Collective, Op, scaled
from topout.cost.training import check_count
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture, Attention, Block, Head

# What sequence parallelism divides; a norm inside a head is divided with the heads.
_ALONG_SEQUENCE = ("norms", "residuals")


def tensor_parallel_share(
    architecture: Architecture, devices: int, *, split_head: bool = True
) -> Architecture:
    """One device's part of `architecture`; its norms and residuals stay whole.

    Key/value heads fewer than devices are held more than once. `split_head` divides the rows of
    the vocabulary, embedding included. Raises InputError where heads or widths do not divide,
    UnsupportedError for convolutional networks.
    """
    if devices < 1:
        raise InputError(f"--tp {devices} is out of range.", "Give 1 device or more.")
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
    architecture: Architecture, tokens: int, rows: int, *, sequence_parallel: bool = False
) -> list[Op]:
    """The collectives of a pass of `tokens`: sums in each block, and the logits of `rows` gathered.

    A block sums its attention's output and its MLP's, and cross-attention's where it has one.
    `rows` is 0 where the logits stay divided.
    """
    sums = sum(
        block.count * (2 + (block.cross_attention is not None)) for block in architecture.blocks
    )
    ways: list[Collective] = (
        ["reduce_scatter", "all_gather"] if sequence_parallel else ["all_reduce"]
    )
    gathered = [head for head in architecture.heads if head.per == "token"] if rows else []
    return [
        *(_collective(way, way, sums, tokens, architecture.width) for way in ways if sums),
        *(
            _collective("all_gather_logits", "all_gather", 1, rows, head.outputs)
            for head in gathered
        ),
    ]


def along_sequence(ops: list[Op], devices: int) -> list[Op]:
    """`ops` with those that sequence parallelism divides over `devices` divided."""
    return [
        scaled(op, 1 / devices) if op.name.rpartition(".")[2] in _ALONG_SEQUENCE else op
        for op in ops
    ]


def _collective(name: str, collective: Collective, count: int, rows: int, width: int) -> Op:
    return Op(
        name=name,
        part="communication",
        kind="collective",
        collective=collective,
        count=count,
        shape=f"{rows}×{width}",
        flops=0.0,
        activation_elements=float(count * rows * width),
    )


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


def device_share(architecture: Architecture, devices: int) -> Architecture:
    """One tensor-parallel device's part, its rows of the token embedding included.

    Raises what `tensor_parallel_share` raises.
    """
    check_count("tensor_parallel", devices)
    share = tensor_parallel_share(architecture, devices)
    tables = [
        msgspec.structs.replace(table, rows=math.ceil(table.rows / devices))
        if table.name == "tokens"
        else table
        for table in architecture.embeddings
    ]
    return msgspec.structs.replace(share, embeddings=tables)
