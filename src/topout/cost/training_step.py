"""`TrainingStep`: what one device does between two updates of the weights, as memory sees it."""

from typing import Literal, get_args

import msgspec

from topout.errors import InputError
from topout.models.config import DTYPE_BYTES

TrainingDtype = Literal["fp32", "bf16", "fp16"]
Implementation = Literal["fused", "eager"]
Recompute = Literal["none", "selective", "full"]

TRAINING_DTYPES: tuple[TrainingDtype, ...] = get_args(TrainingDtype)


class TrainingStep(msgspec.Struct, frozen=True, kw_only=True):
    """One micro-batch going forward and backward on one data-parallel replica.

    `implementation` is "fused" where one kernel stands for a norm, an activation or a loss (as in
    Megatron-LM, or compiled), and "eager" for what transformers runs op by op in PyTorch.
    `fused_attention` keeps no scores. Raises InputError for sizes that are no counts.
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
