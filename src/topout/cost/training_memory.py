"""Memory of one device in a training step: weights, gradients, optimizer, activations.

The activations are those of the blocks (`activations`), and those before the first block and after
the last: embeddings, heads and loss. They are counted at the fullest moment. Either the loss is
being taken, when all that the blocks keep is there and the logits come on top; or the last block
goes backward, when the logits are gone, and what was not kept of that block is there again.
"""

import math
from collections.abc import Sequence
from typing import get_args

import msgspec

from topout.cost.activations import block_activations, block_input, convolution_activations
from topout.cost.parallel import device_share
from topout.cost.pipeline import heaviest_stages
from topout.cost.saved_tensors import (
    FP32_BYTES,
    INDEX_BYTES,
    SavedTensor,
    Stream,
    device_bytes,
    query_length,
    stream,
)
from topout.cost.training import ZERO_STAGES, Recompute, TrainingPlan, TrainingStep, parameter_bytes
from topout.models.architecture import Architecture, Block, Head, total_parameters
from topout.records.cost import TrainingMemory


def embedding_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Indices, norm and dropout of the embeddings, and what encodes positions in all blocks.

    One set for each side of an encoder-decoder.
    """
    sides = [False, True] if architecture.kind == "encoder_decoder" else [False]
    tensors: list[SavedTensor] = []
    for decoder_side in sides if architecture.embeddings else []:
        length = query_length(architecture, step, decoder_side=decoder_side)
        tokens = stream(architecture, step, length)
        tensors += _looked_up(architecture, length, step.batch_size)
        if architecture.embedding_norm is not None:
            norm = architecture.embedding_norm
            tensors += tokens.norm("embedding.norm", norm, architecture.width)
        tensors += tokens.dropout_mask("embedding.dropout", architecture.width)
    return tensors + _rotations(architecture, step) + _distances(architecture, step)


def _looked_up(architecture: Architecture, length: int, batch: int) -> list[SavedTensor]:
    """The row numbers of each table; positions and types are the same in every sequence."""
    return [
        SavedTensor(
            name=f"embedding.{table.name}",
            elements=length * (batch if table.name == "tokens" else 1),
            element_bytes=INDEX_BYTES,
        )
        for table in architecture.embeddings
        if table.lookup
    ]


def _rotations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Cosines and sines of each position, shared by the blocks."""
    sizes = {each.attention.head_size for each in architecture.blocks if each.attention.rotary}
    return [
        SavedTensor(
            name="embedding.rotation",
            elements=2 * step.sequence_len * size,
            element_bytes=step.element_bytes,
        )
        for size in sizes
    ]


def _distances(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Which learned bias belongs to each pair of positions, once for each stack."""
    lengths = [
        query_length(architecture, step, decoder_side=block.attention.causal)
        for block in architecture.blocks
        if block.attention.relative_buckets
    ]
    return [
        SavedTensor(name="embedding.distances", elements=length * length, element_bytes=INDEX_BYTES)
        for length in lengths
    ]


def final_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Norms after the blocks, the inputs of the heads, and an encoder's output for a decoder."""
    tensors: list[SavedTensor] = []
    stacks = architecture.blocks[-1:]
    if architecture.kind == "encoder_decoder":
        stacks = [architecture.blocks[0], architecture.blocks[-1]]
    for block in stacks[: architecture.final_norms]:
        tokens = _stack_stream(architecture, step, block)
        tensors += tokens.norm("final_norm", block.norm, block.width)
        if architecture.kind == "encoder_decoder":
            tensors += tokens.dropout_mask("final_dropout", block.width)
    if architecture.kind == "encoder_decoder":
        encoder = _stack_stream(architecture, step, architecture.blocks[0])
        tensors.append(encoder.along_tokens("encoder_output", architecture.width))
    return tensors + _head_inputs(architecture, step)


def _stack_stream(architecture: Architecture, step: TrainingStep, block: Block) -> Stream:
    length = query_length(architecture, step, decoder_side=block.attention.causal)
    return stream(architecture, step, length)


def _head_inputs(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """What the linear layers after the blocks read, and what the norm after one of them keeps."""
    length = query_length(architecture, step, decoder_side=True)
    tensors = []
    for index, head in enumerate(architecture.heads):
        # PyTorch keeps a slice's whole tensor: the last hidden states of all tokens.
        sliced = index == 0 and step.implementation == "eager" and bool(architecture.blocks)
        whole = head.per == "token" or sliced
        read = stream(architecture, step, length if whole else 1)
        tensors.append(read.along_tokens(f"{head.name}.input", head.inputs))
        if head.norm is not None:  # after an activation, whose input is kept too
            written = stream(architecture, step, length if head.per == "token" else 1)
            tensors.append(written.along_tokens(f"{head.name}.activation_input", head.outputs))
            tensors += written.norm(f"{head.name}.norm", head.norm, head.outputs)
    return tensors


def loss_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Cross-entropy over the outputs of the last head: its logarithms and the targets.

    Decoders keep them in fp32 (arXiv 2205.05198: 4·s·b·V bytes); none for a model without a head.
    """
    head = loss_head(architecture)
    if head is None:
        return []
    tokens = _loss_stream(architecture, step, head)
    size = _loss_bytes(architecture, tokens)
    return [
        SavedTensor(
            name="loss.log_softmax", elements=tokens.tokens * head.outputs, element_bytes=size
        ),
        SavedTensor(name="loss.targets", elements=tokens.tokens, element_bytes=INDEX_BYTES),
        SavedTensor(name="loss.total_weight", elements=1, element_bytes=size),
    ]


def loss_error_bytes(architecture: Architecture, step: TrainingStep) -> int:
    """The gradients that the loss begins with.

    Eager PyTorch holds two as large as the logits' logarithms: that of the picked logarithms and
    that of the logits. A fused kernel writes the gradient of the logits over their logarithms,
    which count here.
    """
    head = loss_head(architecture)
    if head is None:
        return 0
    if step.implementation == "fused":
        return device_bytes(loss_activations(architecture, step)[:1], step)
    tokens = _loss_stream(architecture, step, head)
    return 2 * tokens.tokens * head.outputs * _loss_bytes(architecture, tokens)


def loss_head(architecture: Architecture) -> Head | None:
    """The head whose outputs are compared with targets; a pooler's are not."""
    scored = [head for head in architecture.heads if head.name != "pooler"]
    return scored[-1] if scored else None


def _loss_stream(architecture: Architecture, step: TrainingStep, head: Head) -> Stream:
    length = query_length(architecture, step, decoder_side=True)
    return stream(architecture, step, length if head.per == "token" else 1)


def _loss_bytes(architecture: Architecture, tokens: Stream) -> int:
    eager_narrow = tokens.eager and not tokens.traits.loss_in_fp32
    return tokens.element_bytes if eager_narrow else FP32_BYTES


class ActivationBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Activations and errors, their gradients, of one device by what they belong to.

    At the fullest moment either the loss is taken, or the last block goes backward.
    """

    blocks: int  # of all micro-batches under way
    edges: int  # embeddings, final norms, inputs of the heads, convolutions
    loss: int  # logarithms of the softmax, and targets
    loss_errors: int  # gradients of the logits, and of their logarithms where both are there
    working: int  # what is computed again of one block while it goes backward
    block_errors: int  # the gradient of the hidden states that goes from block to block

    @property
    def is_at_loss(self) -> bool:
        """Whether the loss is the fullest moment."""
        return self.loss + self.loss_errors >= self.working + self.block_errors

    @property
    def errors(self) -> int:
        """At the fullest moment."""
        return self.loss_errors if self.is_at_loss else self.block_errors

    @property
    def peak(self) -> int:
        """Both, at the fullest moment."""
        kept = self.loss if self.is_at_loss else self.working
        return self.blocks + self.edges + kept + self.errors


def training_memory(
    architecture: Architecture, step: TrainingStep, plan: TrainingPlan
) -> TrainingMemory:
    """Bytes on the fullest device. Sources: arXiv 1910.02054 (ZeRO), 2205.05198 (activations).

    Not counted: weights that ZeRO stage 3 gathers for the block at work, buffers of collectives,
    an optimizer's temporaries, and what an allocator loses between tensors. Raises InputError and
    UnsupportedError for a split that the model does not allow.
    """
    stages = heaviest_stages(architecture, plan.pipeline_parallel)
    memories = [
        _stage_memory(device_share(stage, step.tensor_parallel), step, plan, is_first=index == 0)
        for index, stage in enumerate(stages)
    ]
    return max(memories, key=lambda memory: memory.total_bytes)


def training_table(
    architecture: Architecture, step: TrainingStep, plan: TrainingPlan
) -> list[TrainingMemory]:
    """One row for each way to recompute and each ZeRO stage; ZeRO only where there are replicas."""
    choices = get_args(Recompute) if architecture.blocks else ("none",)
    return [training_memory(architecture, step, each) for each in tabled_plans(plan, choices)]


def tabled_plans(plan: TrainingPlan, choices: Sequence[Recompute]) -> list[TrainingPlan]:
    """`plan` with each way to recompute, and with each ZeRO stage where there are replicas."""
    stages = ZERO_STAGES if plan.data_parallel > 1 else ZERO_STAGES[:1]
    return [
        msgspec.structs.replace(plan, recompute=recompute, zero_stage=zero_stage)
        for recompute in choices
        for zero_stage in stages
    ]


def activation_bytes(
    share: Architecture, step: TrainingStep, recompute: Recompute, under_way: float = 1
) -> ActivationBytes:
    """Activations of one device that holds `share` of a model.

    `under_way` micro-batches have gone forward and not yet backward, of chunks a part of one.
    """
    blocks = sum(
        block.count * device_bytes(_kept(share, block, step, recompute), step)
        for block in share.blocks
    )
    edges = [
        *embedding_activations(share, step),
        *final_activations(share, step),
        *convolution_activations(share, step),
    ]
    overwritten = 1 if step.implementation == "fused" else 0  # with errors
    kept_for_loss = loss_activations(share, step)[overwritten:]
    working = max((_working(share, block, step, recompute) for block in share.blocks), default=0)
    return ActivationBytes(
        blocks=math.ceil(under_way * blocks),
        edges=math.ceil(under_way * device_bytes(edges, step)),
        loss=device_bytes(kept_for_loss, step),
        loss_errors=loss_error_bytes(share, step),
        working=working,
        block_errors=max(
            (device_bytes([block_input(share, block, step)], step) for block in share.blocks),
            default=0,
        ),
    )


def _stage_memory(
    share: Architecture, step: TrainingStep, plan: TrainingPlan, *, is_first: bool
) -> TrainingMemory:
    # One forward, one backward in turn: the first stage has as many micro-batches under way as
    # there are stages, the last stage one. With v chunks a device it is p + (p−1)/v of them (arXiv
    # 2205.05198, section 4.2.3).
    stages = plan.pipeline_parallel
    filled = stages + (stages - 1) / plan.interleave if plan.interleave > 1 else float(stages)
    filled = min(filled, plan.micro_batches or filled)
    found = activation_bytes(share, step, plan.recompute, filled if is_first else 1)
    return memory_of(total_parameters(share), found, step, plan)


def memory_of(
    parameters: int, found: ActivationBytes, step: TrainingStep, plan: TrainingPlan
) -> TrainingMemory:
    """The sum of what a device keeps of `parameters` and of the activations that were found."""
    activations = found.peak
    kept = parameter_bytes(parameters, step.dtype, plan)
    # Without gradients of earlier micro-batches they grow as activations go, block by block.
    both = activations + kept.gradients
    moving = both if plan.gradients_persist else max(activations, kept.gradients)
    return TrainingMemory(
        recompute=plan.recompute,
        zero_stage=plan.zero_stage,
        weights_bytes=kept.weights,
        gradients_bytes=kept.gradients,
        optimizer_bytes=kept.optimizer,
        activations_bytes=activations - found.errors,
        errors_bytes=found.errors,
        total_bytes=kept.weights + kept.optimizer + moving,
    )


def _kept(
    share: Architecture, block: Block, step: TrainingStep, recompute: Recompute
) -> list[SavedTensor]:
    """What is kept of one block; `selective` leaves out attention's core (arXiv 2205.05198)."""
    if recompute == "full":
        return [block_input(share, block, step)]
    tensors = block_activations(share, block, step)
    if recompute == "selective":
        return [tensor for tensor in tensors if not tensor.core]
    return tensors


def _working(share: Architecture, block: Block, step: TrainingStep, recompute: Recompute) -> int:
    """What is there again of one block while it goes backward."""
    whole = device_bytes(block_activations(share, block, step), step)
    return whole - device_bytes(_kept(share, block, step, recompute), step)
