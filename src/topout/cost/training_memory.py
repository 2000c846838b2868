"""Memory of one device in a training step: weights, gradients, optimizer, activations.

The activations are those of the fullest moment. Either the loss is being taken, when all that the
blocks keep is there and the logits come on top; or the last block goes backward, when the logits
are gone, and what was not kept of that block is there again.
"""

import msgspec

from topout.cost.activations import block_activations, block_input
from topout.cost.convolution_activations import convolution_activations
from topout.cost.edge_activations import (
    embedding_activations,
    final_activations,
    loss_activations,
    loss_working_bytes,
)
from topout.cost.pipeline_stages import device_share, heaviest_stages
from topout.cost.saved_tensors import SavedTensor, device_bytes
from topout.cost.training_plan import ZERO_STAGES, TrainingPlan, parameter_bytes
from topout.cost.training_step import Recompute, TrainingStep
from topout.models.architecture import Architecture, Block
from topout.models.architectures.parameters import total_parameters
from topout.records.cost import TrainingMemory


class ActivationBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Activations of one device by what they belong to."""

    blocks: int  # of all micro-batches under way
    edges: int  # embeddings, final norms, inputs of the heads, convolutions
    loss: int  # logarithms of the softmax, and gradients of the logits while they are there
    working: int  # what comes and goes while one block goes backward

    @property
    def peak(self) -> int:
        """At the fullest moment: while the loss is taken, or while the last block goes back."""
        return self.blocks + self.edges + max(self.loss, self.working)


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
    choices: list[Recompute] = ["none", "selective", "full"] if architecture.blocks else ["none"]
    stages = ZERO_STAGES if plan.data_parallel > 1 else ZERO_STAGES[:1]
    return [
        training_memory(
            architecture,
            step,
            msgspec.structs.replace(plan, recompute=recompute, zero_stage=zero_stage),
        )
        for recompute in choices
        for zero_stage in stages
    ]


def activation_bytes(
    share: Architecture, step: TrainingStep, recompute: Recompute, under_way: int = 1
) -> ActivationBytes:
    """Activations of one device that holds `share` of a model.

    `under_way` micro-batches have gone forward and not yet backward.
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
    loss = device_bytes(loss_activations(share, step), step) + loss_working_bytes(share, step)
    working = max((_working(share, block, step, recompute) for block in share.blocks), default=0)
    return ActivationBytes(
        blocks=under_way * blocks,
        edges=under_way * device_bytes(edges, step),
        loss=loss,
        working=working,
    )


def _stage_memory(
    share: Architecture, step: TrainingStep, plan: TrainingPlan, *, is_first: bool
) -> TrainingMemory:
    # One forward, one backward in turn: the first stage has as many micro-batches under way as
    # there are stages, the last stage one.
    filled = min(plan.pipeline_parallel, plan.micro_batches or plan.pipeline_parallel)
    activations = activation_bytes(share, step, plan.recompute, filled if is_first else 1).peak
    kept = parameter_bytes(total_parameters(share), step.dtype, plan)
    # Without gradients of earlier micro-batches they grow as activations go, block by block.
    both = activations + kept.gradients
    moving = both if plan.gradients_persist else max(activations, kept.gradients)
    return TrainingMemory(
        recompute=plan.recompute,
        zero_stage=plan.zero_stage,
        weights_bytes=kept.weights,
        gradients_bytes=kept.gradients,
        optimizer_bytes=kept.optimizer,
        activations_bytes=activations,
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
