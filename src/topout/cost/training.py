"""A training step: its shape, how the training is laid out, and its ops with their FLOPs and bytes.

Bytes a parameter:

| | weights | gradients | states of the optimizer |
|---|---|---|---|
| fp32, or 16-bit "pure" (size e) | e | e | none 0, momentum e, Adam 2·e |
| 16-bit "mixed" | 2 | 2 or 4 | fp32 copy 4, and 0, 4 or 8 |
| either with 8-bit Adam | as above | as above | (mixed: 4 and) 2 + 8/256 |

Source of the mixed recipe: arXiv 1910.02054, 2 + 2 + 12 bytes a parameter with Adam; of 8-bit
Adam: arXiv 2110.02861, two moments of a byte each and an fp32 scale for every block of them, whose
size is 256 in bitsandbytes.

Backward is twice forward for a product: the gradient of its input and that of its weight, each a
product of the same size. Fused attention keeps no scores and computes them again: 5 products
where forward has 2 (arXiv 2205.14135). Recomputing a block adds its forward once more.
"""

import math
from typing import Literal, get_args

import msgspec

from topout import units
from topout.cost.ops import Op, OpKind
from topout.cost.transformer import SCORES
from topout.errors import InputError
from topout.models.config import DTYPE_BYTES

TrainingDtype = Literal["fp32", "bf16", "fp16"]
Implementation = Literal["fused", "eager"]
Recompute = Literal["none", "selective", "full"]

TRAINING_DTYPES: tuple[TrainingDtype, ...] = get_args(TrainingDtype)

Optimizer = Literal["sgd", "momentum", "adam", "adam_8bit"]
Recipe = Literal["mixed", "pure"]
_STATES: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "adam": 2, "adam_8bit": 2}
_SCALE_BLOCK = 256
_FP32_BYTES = 4
ZERO_STAGES = (0, 1, 2, 3)
# FLOPs, and elements of weights, activations and the KV cache, over those of forward. Of a product
# dX reads W and dY and writes dX; dW reads X and dY and writes dW, which is as large as W.
# Attention reads Q, K, V, the output and its gradient, and writes the gradients of Q, K and V.
_BACKWARD: dict[OpKind, tuple[float, ...]] = {
    "collective": (1, 1, 1, 1),
    "linear": (2, 2, 2, 1),
    "convolution": (2, 2, 2, 1),
    "attention": (2.5, 1, 2, 2),
}
# It reads its input and the gradient of its output, and writes one of its input.
_ELEMENTWISE_BACKWARD = (2, 1, 1.5, 1)
# AdamW in mixed precision reads an fp32 copy, two moments and a 16-bit gradient, and writes the
# three and the 16-bit weight: 12 + 2 + 12 + 2. In fp32 it reads and writes weight and moments and
# reads the gradient: 12 + 4 + 12. Both are 28 bytes.
_ADAM_BYTES = 28.0


class TrainingStep(msgspec.Struct, frozen=True, kw_only=True):
    """One micro-batch going forward and backward on one data-parallel replica.

    `implementation` is "fused" where one kernel stands for a norm, an activation or a loss (as in
    Megatron-LM, or compiled), and "eager" for what transformers runs op by op in PyTorch.
    `fused_attention` keeps no scores. Raises InputError for sizes below 1.
    """

    batch_size: int  # sequences of the micro-batch, or images
    sequence_len: int  # tokens of a sequence; of the encoder's side where there are two
    target_len: int | None = None  # tokens of the decoder's side; None: as many as the encoder's
    dtype: TrainingDtype = "bf16"
    implementation: Implementation = "fused"
    fused_attention: bool = True
    dropout: bool = False
    device: Literal["gpu", "cpu"] = "gpu"
    tensor_parallel: int = 1
    sequence_parallel: bool = False  # norms and dropouts too are divided, along the sequence

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        for field in ("batch_size", "sequence_len", "target_len", "tensor_parallel"):
            check_count(field, getattr(self, field))
        if self.dtype not in TRAINING_DTYPES:
            raise InputError(
                f"cannot train in {self.dtype!r}.", f"Choose one of {', '.join(TRAINING_DTYPES)}."
            )

    @property
    def element_bytes(self) -> int:
        """Of one activation."""
        return DTYPE_BYTES[self.dtype]

    @property
    def mask_bytes(self) -> int:
        """Of one element of a dropout mask: PyTorch keeps a bool on a GPU, a number on a CPU."""
        return 1 if self.device == "gpu" else self.element_bytes

    @property
    def statistic_bytes(self) -> int:
        """Of a layer norm's mean and deviation: fp32 on a GPU, of the norm's dtype on a CPU."""
        return 4 if self.device == "gpu" else self.element_bytes


def check_count(name: str, value: int | None) -> None:
    """Raise InputError when `value` is zero or negative; None stands for a value not given."""
    if value is not None and value < 1:
        raise InputError(f"{name} is {value}.", "Give 1 or more.")


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is trained: everything that is not the shape of one micro-batch.

    ZeRO divides over the data-parallel replicas: stage 1 the optimizer's states, stage 2 the
    gradients too, stage 3 the weights too. `gradients_persist` where gradients of earlier
    micro-batches, or their buffers, are there during the forward pass. Raises InputError for a
    plan that does not exist.
    """

    optimizer: Optimizer = "adam"
    recipe: Recipe = "mixed"
    gradient_dtype: TrainingDtype | None = None  # None: that of the weights
    recompute: Recompute = "none"
    zero_stage: int = 0
    data_parallel: int = 1
    pipeline_parallel: int = 1
    micro_batches: int | None = None  # of a pipeline's step; None: enough to fill it
    interleave: int = 1  # chunks of the layers on each of its devices
    gradients_persist: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        for field in ("data_parallel", "pipeline_parallel", "micro_batches", "interleave"):
            check_count(field, getattr(self, field))
        _check_choice("optimizer", self.optimizer, get_args(Optimizer))
        _check_choice("recipe", self.recipe, get_args(Recipe))
        _check_choice("recompute", self.recompute, get_args(Recompute))
        _check_choice("zero_stage", self.zero_stage, ZERO_STAGES)
        if self.gradient_dtype is not None:
            _check_choice("gradient_dtype", self.gradient_dtype, TRAINING_DTYPES)


class ParameterBytes(msgspec.Struct, frozen=True, kw_only=True):
    """What one device keeps of the parameters."""

    weights: int
    gradients: int
    optimizer: int


def parameter_bytes(parameters: int, dtype: TrainingDtype, plan: TrainingPlan) -> ParameterBytes:
    """Bytes on each of the data-parallel devices that train `parameters` together.

    Formula: the table at the head of this module. A share is rounded up to whole parameters.
    """
    size = DTYPE_BYTES[dtype]
    gradient_size = DTYPE_BYTES[plan.gradient_dtype or dtype]
    share = math.ceil(parameters / plan.data_parallel)
    updated = share if plan.zero_stage >= 1 else parameters
    return ParameterBytes(
        weights=size * (share if plan.zero_stage >= 3 else parameters),
        gradients=gradient_size * (share if plan.zero_stage >= 2 else parameters),
        optimizer=_state_bytes(updated, size, plan),
    )


def _state_bytes(parameters: int, size: int, plan: TrainingPlan) -> int:
    """The optimizer's states, and the fp32 copy of 16-bit weights."""
    copied = plan.recipe == "mixed" and size < _FP32_BYTES
    copy = _FP32_BYTES * parameters if copied else 0
    states = _STATES[plan.optimizer]
    if plan.optimizer == "adam_8bit":
        scales = _FP32_BYTES * math.ceil(parameters / _SCALE_BLOCK)
        return copy + states * (parameters + scales)
    return copy + states * (_FP32_BYTES if copied else size) * parameters


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        offered = ", ".join(str(choice) for choice in choices)
        raise InputError(f"{name} is {value!r}.", f"Choose one of {offered}.")


def backward_ops(
    forward: list[Op], *, recompute: Recompute = "none", fused_attention: bool = True
) -> list[Op]:
    """The backward pass of the ops of a forward one, in the order in which they run."""
    backward: list[Op] = []
    for op in reversed(forward):
        if is_recomputed(op, recompute):
            backward.append(msgspec.structs.replace(op, name=f"{op.name}.recomputed"))
        backward.append(backward_of(op, fused_attention=fused_attention))
    return backward


def update_ops(parameters: int, *, replicas: int = 1) -> list[Op]:
    """What ends a step: gradients of `parameters` are summed over `replicas`, and AdamW."""
    gradients = [_gradient_all_reduce(parameters)] if replicas > 1 else []
    return [*gradients, _optimizer(parameters)]


def is_recomputed(op: Op, recompute: Recompute) -> bool:
    """Whether a forward op runs again in backward: `selective` repeats attention's core alone.

    `full` repeats the blocks with the sums between their devices, but no message of a pipeline.
    """
    if op.collective == "send" or op.part in ("embedding", "head", "convolution"):
        return False
    core = op.kind == "attention" or op.name.endswith(SCORES)
    return recompute == "full" or (recompute == "selective" and core)


def backward_of(op: Op, *, fused_attention: bool = True) -> Op:
    """What the gradient of one op costs; a sum of activations becomes one of their gradients."""
    flops, weights, activations, cached = _BACKWARD.get(op.kind, _ELEMENTWISE_BACKWARD)
    if op.kind == "attention" and not fused_attention:
        flops = 2  # its scores are there
    return msgspec.structs.replace(
        op,
        name=f"{op.name}.backward",
        flops=flops * op.flops,
        weight_elements=weights * op.weight_elements,
        activation_elements=activations * op.activation_elements,
        kv_elements=cached * op.kv_elements,
    )


def _gradient_all_reduce(parameters: int) -> Op:
    return Op(
        name="gradient_all_reduce",
        part="communication",
        kind="collective",
        over="data",
        count=1,
        shape=f"{parameters} gradients",
        flops=0.0,
        activation_elements=float(parameters),
    )


def _optimizer(parameters: int) -> Op:
    return Op(
        name="optimizer",
        part="optimizer",
        kind="elementwise",
        count=1,
        shape=f"{units.parameters(parameters)} parameters, AdamW",
        flops=12.0 * parameters,
        fixed_bytes=_ADAM_BYTES * parameters,
    )
