"""A model split over devices: one device's share, its pipeline stages, and the time to communicate.

Tensor parallelism as Megatron-LM does it (arXiv 1909.08053): Q, K, V and the MLP's first matrix by
columns, the attention's output and the MLP's second matrix by rows, so that a block ends in two
all-reduces.

Collectives cost a latency α per message and S bytes, the full buffer, over the bandwidth B of each
of n devices. Ring: the buffer goes round in n parts. Tree: up and down log2(n) hops, pipelined, as
libraries do for small buffers. Formulas: Thakur, Rabenseifner and Gropp, "Optimization of
Collective Communication Operations in MPICH" (2005).
"""

import math
from typing import Literal

import msgspec

from topout.cost.ops import Op
from topout.cost.training import check_count
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture, Attention, Block, Head, block_parameters

Collective = Literal["all_reduce", "all_gather", "reduce_scatter"]


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
    architecture: Architecture, tokens: int, rows: int, *, split_head: bool = True
) -> list[Op]:
    """The collectives of a pass of `tokens`: all-reduces in each block, the logits gathered.

    A block sums its attention's output and its MLP's, and cross-attention's where it has one.
    """
    reduces = sum(
        block.count * (2 + (block.cross_attention is not None)) for block in architecture.blocks
    )
    gathered = [head for head in architecture.heads if head.per == "token"] if split_head else []
    return [
        _collective("all_reduce", reduces, tokens, architecture.width),
        *(_collective("all_gather", 1, rows, head.outputs) for head in gathered),
    ]


def _collective(name: Collective, count: int, rows: int, width: int) -> Op:
    return Op(
        name=name,
        part="communication",
        kind="collective",
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


def heaviest_stages(architecture: Architecture, stages: int) -> list[Architecture]:
    """The first and the last stage, one of which is the largest; the model itself for one stage.

    The first holds the embeddings, the last the final norms and the heads, and a copy of the
    token embedding where a head shares it. Each has ceil(L / stages) blocks, of unequal ones the
    heaviest. Raises InputError for more stages than blocks, UnsupportedError where there is not
    one chain of blocks.
    """
    check_count("pipeline_parallel", stages)
    if stages == 1:
        return [architecture]
    if architecture.kind == "encoder_decoder" or not architecture.blocks:
        raise UnsupportedError(
            f"{architecture.name}: pipeline stages need a single stack of blocks.",
            "Leave pipeline_parallel at 1.",
        )
    layers = sum(block.count for block in architecture.blocks)
    if stages > layers:
        raise InputError(
            f"pipeline_parallel is {stages}, and {architecture.name} has {layers} blocks.",
            f"Give at most {layers}.",
        )
    blocks = _largest_share(architecture.blocks, math.ceil(layers / stages), stages)
    first = msgspec.structs.replace(architecture, blocks=blocks, heads=[], final_norms=0)
    last = msgspec.structs.replace(
        architecture,
        blocks=blocks,
        embeddings=[],
        embedding_norm=None,
        convolutions=[],
        # The table that a head shares with the embedding is there a second time.
        heads=[msgspec.structs.replace(head, tied=False) for head in architecture.heads],
    )
    return [first, last]


def _largest_share(blocks: list[Block], needed: int, stages: int) -> list[Block]:
    """`needed` blocks, an even share of each stack, the heaviest stacks filled up first."""
    share = []
    for block in sorted(blocks, key=lambda each: -sum(block_parameters(each).values())):
        count = min(math.ceil(block.count / stages), needed)
        needed -= count
        if count:
            share.append(msgspec.structs.replace(block, count=count))
    return share


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


def all_reduce_s(payload_bytes: float, devices: int, bytes_per_s: float, latency_s: float) -> float:
    """Seconds of an all-reduce, by ring or by tree, whichever is faster.

    Ring: 2(n−1)·α + 2(n−1)/n·S/B. Tree: 2·⌈log2 n⌉·α + 2·S/B.
    """
    _check(payload_bytes, devices, bytes_per_s, latency_s)
    if devices == 1:
        return 0.0
    transfer_s = payload_bytes / bytes_per_s
    ring = 2 * (devices - 1) * (latency_s + transfer_s / devices)
    tree = 2 * math.ceil(math.log2(devices)) * latency_s + 2 * transfer_s
    return min(ring, tree)


def all_gather_s(payload_bytes: float, devices: int, bytes_per_s: float, latency_s: float) -> float:
    """Seconds of an all-gather by ring, which are those of a reduce-scatter: (n−1)(α + S/(n·B))."""
    _check(payload_bytes, devices, bytes_per_s, latency_s)
    return (devices - 1) * (latency_s + payload_bytes / bytes_per_s / devices)


def collective_s(
    collective: Collective,
    payload_bytes: float,
    devices: int,
    bytes_per_s: float,
    latency_s: float,
) -> float:
    """Seconds of one collective of `payload_bytes`, the full buffer."""
    formula = all_reduce_s if collective == "all_reduce" else all_gather_s
    return formula(payload_bytes, devices, bytes_per_s, latency_s)


def _check(payload_bytes: float, devices: int, bytes_per_s: float, latency_s: float) -> None:
    if devices < 1:
        raise InputError(f"{devices} devices is out of range.", "Give 1 or more.")
    if payload_bytes < 0 or latency_s < 0:
        raise InputError(
            "payload_bytes and latency_s must be 0 or more.", "Give bytes and seconds."
        )
    if not bytes_per_s > 0:
        raise InputError(
            f"a link's bandwidth must be above 0, not {bytes_per_s} bytes/s.", "Give its bandwidth."
        )
