"""What is asked of a model whose passes are counted by running its module, not by formulas."""

import math
from typing import Protocol, get_args

import msgspec

from topout.cost.ops import Op
from topout.cost.saved_tensors import FP32_BYTES, INDEX_BYTES
from topout.cost.training import Recompute, TrainingPlan, TrainingStep
from topout.cost.training_memory import ActivationBytes, memory_of, tabled_plans
from topout.errors import UnsupportedError
from topout.models.architecture import Architecture, total_parameters
from topout.records.cost import CostWorkload, TrainingMemory


class Backward(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that a forward pass keeps for its backward; the insides of kernels are made again."""

    layers: float  # of all layers together
    statistics: float  # of fused attention, in fp32, of all layers
    edges: float  # before the first layer and after the last
    largest_layer: float  # of one layer
    inputs: float  # what all layers read, which is kept where they are computed again
    states: float  # hidden states, whose gradient goes from layer to layer; 0 without layers
    logits: int  # that a loss is taken of
    tokens: int


class Counting(Protocol):
    """Counts passes of B sequences, op by op."""

    def prefill(self, batch_size: int, length: int) -> list[Op]:
        """The prompt, of which the last token gets logits."""

    def decode(self, batch_size: int, context_len: int, source_len: int) -> list[Op]:
        """One more token of each sequence, which is the `context_len`-th."""

    def forward(self, batch_size: int, length: int) -> list[Op]:
        """All tokens, with logits of all."""

    def backward(self, batch_size: int, length: int) -> Backward:
        """What the backward of such a pass needs of it."""


def check_counted(architecture: Architecture, workload: CostWorkload) -> None:
    """Raise UnsupportedError for what is not modelled of a module that was counted whole."""
    if architecture.counted is None:
        return
    asked = {
        "--tp": workload.tensor_parallel > 1,
        "--pp": workload.pipeline_parallel > 1,
        "--attention": workload.attention != "fused",
        "--dropout": workload.dropout,
        "--micro-batches": architecture.kind == "module" and (workload.micro_batches or 1) > 1,
    }
    for option in (option for option, is_asked in asked.items() if is_asked):
        raise UnsupportedError(
            f"{architecture.name}: {option} is not modelled for {architecture.counted_as}, whose "
            "module was counted as it runs.",
            f"Leave {option} out.",
        )


def counted_training_table(
    architecture: Architecture, backward: Backward, step: TrainingStep, plan: TrainingPlan
) -> list[TrainingMemory]:
    """One row for each way to recompute and each ZeRO stage; ZeRO only where there are replicas.

    As `training_table`, with what the run of the module kept in the place of formulas.
    """
    return [
        memory_of(
            total_parameters(architecture),
            _held(backward, step.element_bytes, each.recompute),
            step,
            each,
        )
        for each in tabled_plans(plan, get_args(Recompute))
    ]


def _held(backward: Backward, size: int, recompute: Recompute) -> ActivationBytes:
    """Activations and errors; the loss begins with gradients of the logits in fp32."""
    layers = backward.layers * size + backward.statistics * FP32_BYTES
    working = 0.0
    if recompute == "selective":  # attention's statistics alone are made again
        layers = backward.layers * size
    elif recompute == "full":
        layers, working = backward.inputs * size, backward.largest_layer * size
    return ActivationBytes(
        blocks=math.ceil(layers),
        edges=math.ceil(backward.edges * size),
        loss=backward.tokens * INDEX_BYTES if backward.logits else 0,
        loss_errors=backward.logits * FP32_BYTES,
        working=math.ceil(working),
        block_errors=math.ceil(backward.states * size),
    )
