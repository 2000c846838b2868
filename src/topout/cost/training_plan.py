"""`TrainingPlan`: optimizer, recomputation and split of a training run, and its bytes a parameter.

| | weights | gradients | states of the optimizer |
|---|---|---|---|
| fp32, or 16-bit "pure" (size e) | e | e | none 0, momentum e, Adam 2·e |
| 16-bit "mixed" | 2 | 2 or 4 | fp32 copy 4, and 0, 4 or 8 |
| either with 8-bit Adam | as above | as above | (mixed: 4 and) 2 + 8/256 |

Source of the mixed recipe: arXiv 1910.02054, 2 + 2 + 12 bytes a parameter with Adam; of 8-bit
Adam: arXiv 2110.02861, two moments of a byte each and an fp32 scale for every block of them, whose
size is 256 in bitsandbytes.
"""

import math
from typing import Literal, get_args

import msgspec

from topout.cost.training_step import TRAINING_DTYPES, Recompute, TrainingDtype, check_count
from topout.errors import InputError
from topout.models.config import DTYPE_BYTES

Optimizer = Literal["sgd", "momentum", "adam", "adam_8bit"]
Recipe = Literal["mixed", "pure"]

_STATES: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "adam": 2, "adam_8bit": 2}
_SCALE_BLOCK = 256
_FP32 = 4
ZERO_STAGES = (0, 1, 2, 3)


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
    gradients_persist: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        for field in ("data_parallel", "pipeline_parallel", "micro_batches"):
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
    copied = plan.recipe == "mixed" and size < _FP32
    copy = _FP32 * parameters if copied else 0
    states = _STATES[plan.optimizer]
    if plan.optimizer == "adam_8bit":
        scales = _FP32 * math.ceil(parameters / _SCALE_BLOCK)
        return copy + states * (parameters + scales)
    return copy + states * (_FP32 if copied else size) * parameters


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        offered = ", ".join(str(choice) for choice in choices)
        raise InputError(f"{name} is {value!r}.", f"Choose one of {offered}.")
