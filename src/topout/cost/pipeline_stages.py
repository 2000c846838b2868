"""The stages that pipeline parallelism cuts a model into, each as an `Architecture` of its own."""

import math

import msgspec

from topout.cost.parallel import tensor_parallel_share
from topout.cost.training_step import check_count
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture, Block
from topout.models.architectures.parameters import block_parameters


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
            f"{architecture.name}: pipeline stages are counted of one chain of blocks.",
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
