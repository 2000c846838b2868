"""Pipeline parallelism: the stages that a model is cut into, and the micro-batches between them.

A training step runs forward and backward of the micro-batches in turn (1F1B, arXiv 2104.04473). A
device of m micro-batches that take t each on the slowest stage is busy for m·t, and waits while a
micro-batch fills the other stages once: with v chunks of the model on each device, Σ tᵢ / v over
the others. For p equal stages that is the published (m + (p−1)/v)·t.
"""

import math

import msgspec

from topout.cost.ops import Op
from topout.cost.training import check_count
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture, Block, block_parameters
from topout.records import CostWorkload


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """How one phase goes through the stages; one stage and one micro-batch: no pipeline."""

    stages: int = 1
    micro_batches: int = 1
    chunks: int = 1  # of the model on each device


def pipeline_of(workload: CostWorkload, *, trains: bool) -> Pipeline:
    """The pipeline of a training step, or of a forward pass.

    In training there are as many micro-batches as asked for, one sequence each unless it is said,
    which keeps the bubble small; without stages one, or steps whose gradients are summed. A pass
    has as many as stages, each of which reads all weights, or as many below that divide the batch.
    """
    stages, batch = workload.pipeline_parallel, workload.batch_size
    if trains:
        usual = batch if stages > 1 else 1
        return Pipeline(
            stages=stages,
            micro_batches=workload.micro_batches or usual,
            chunks=workload.interleave,
        )
    few = max(count for count in range(1, min(stages, batch) + 1) if batch % count == 0)
    return Pipeline(stages=stages, micro_batches=few)


def check_pipeline(architecture: Architecture, workload: CostWorkload) -> None:
    """Raise InputError or UnsupportedError for a pipeline that does not exist."""
    stages, chunks = workload.pipeline_parallel, workload.interleave
    heaviest_stages(architecture, stages)
    micro_batches = pipeline_of(workload, trains=True).micro_batches
    if workload.batch_size % micro_batches:
        raise InputError(
            f"{micro_batches} micro-batches do not divide a batch of {workload.batch_size}.",
            "Give --batch-size as a multiple of --micro-batches.",
        )
    if chunks == 1:
        return
    layers = sum(block.count for block in architecture.blocks)
    if stages == 1 or layers % (stages * chunks):
        raise InputError(
            f"{layers} layers are not {chunks} equal chunks on each of {stages} devices.",
            "Choose --pp above 1 and --interleave so that their product divides the layers.",
        )
    if micro_batches % stages:
        raise InputError(
            f"an interleaved pipeline needs a multiple of {stages} micro-batches, not "
            f"{micro_batches}.",
            "Choose --micro-batches as a multiple of --pp.",
        )


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
            "Leave --pp at 1.",
        )
    layers = sum(block.count for block in architecture.blocks)
    if stages > layers:
        raise InputError(
            f"pipeline_parallel is {stages}, and {architecture.name} has {layers} blocks.",
            f"Give at most {layers}.",
        )
    blocks = _with_counts(architecture.blocks, _heaviest(architecture.blocks, stages))
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


def slowest_and_others(
    architecture: Architecture, stages: int
) -> tuple[Architecture, Architecture | None]:
    """The stage that sets the pace, the last with the heads, and all others as one chain.

    None for one stage, which is the model itself. Raises what `heaviest_stages` raises.
    """
    *_, last = heaviest_stages(architecture, stages)
    if stages == 1:
        return last, None
    taken = _heaviest(architecture.blocks, stages)
    left = {
        index: block.count - taken.get(index, 0) for index, block in enumerate(architecture.blocks)
    }
    others = msgspec.structs.replace(
        architecture, blocks=_with_counts(architecture.blocks, left), heads=[], final_norms=0
    )
    return last, others


def hop(count: int, tokens: int, width: int, *, divided_by: int = 1) -> list[Op]:
    """`count` messages from a stage to the next, with the hidden states of `tokens`.

    With sequence parallelism a device sends the part of the sequence that it holds.
    """
    if not count:
        return []
    numbers = math.ceil(tokens * width / divided_by)
    return [
        Op(
            name="send",
            part="communication",
            kind="collective",
            collective="send",
            over="pipeline",
            count=count,
            shape=f"{tokens}×{width}",
            flops=0.0,
            activation_elements=float(count * numbers),
        )
    ]


def _heaviest(blocks: list[Block], stages: int) -> dict[int, int]:
    """Index → count of the fullest stage: an even share of each stack, the heaviest first."""
    needed = math.ceil(sum(block.count for block in blocks) / stages)
    counts = {}
    for index in sorted(
        range(len(blocks)), key=lambda each: -sum(block_parameters(blocks[each]).values())
    ):
        counts[index] = min(math.ceil(blocks[index].count / stages), needed)
        needed -= counts[index]
    return counts


def _with_counts(blocks: list[Block], counts: dict[int, int]) -> list[Block]:
    """The blocks in the order of `counts`, without those of which none are left."""
    return [
        msgspec.structs.replace(blocks[index], count=count)
        for index, count in counts.items()
        if count
    ]
