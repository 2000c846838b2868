"""`CostRequest`: what a user asks of `topout cost`, checked before anything is counted."""

from typing import Literal, get_args

import msgspec

from topout.cost.hardware_times import MODES
from topout.cost.ops import ELEMENT_BYTES
from topout.cost.training import Recompute
from topout.errors import InputError
from topout.models.architecture import Architecture
from topout.records import CostWorkload

ActivationDtype = Literal["fp32", "bf16", "fp16"]
QUANTIZED = tuple(name for name in ELEMENT_BYTES if name.startswith(("int", "fp8")))
DEFAULT_PROMPT_LEN = 512
DEFAULT_NEW_TOKENS = 128


class CostRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model, a workload, and the machines to predict for; None stands for a sensible default.

    `on` holds names of machines or files; "here" is this one, measured where it was not yet.
    Without any, this machine is taken if it was measured before. Raises InputError for a choice
    that is not offered; sizes are checked against the model later.
    """

    model: str
    on: list[str] = []
    prompt_len: int | None = None  # default: 512, or what the model has positions for
    context_len: int | None = None  # keys that a decoded token sees; default: prompt + 128
    batch_size: int = 1
    dtype: str | None = None  # default: that of the checkpoint's config, else fp32
    quantize: str | None = None  # weights of linear layers: int8, fp8, int4-g32, …
    kv_dtype: str | None = None  # default: as dtype
    tensor_parallel: int = 1
    data_parallel: int = 1
    pipeline_parallel: int = 1
    mode: str = "compiled"
    recompute: Recompute = "none"
    threads: int | None = None  # of this machine; default: all
    image_size: int | None = None  # pixels a side, of image models
    split_head: bool = True

    def __post_init__(self) -> None:
        """Refuse choices that are not offered."""
        _check("--dtype", self.dtype, get_args(ActivationDtype))
        _check("--quantize", self.quantize, QUANTIZED)
        _check("--kv-dtype", self.kv_dtype, (*get_args(ActivationDtype), "fp8", "int8"))
        _check("--mode", self.mode, MODES)
        _check("--recompute", self.recompute, get_args(Recompute))

    def workload(self, architecture: Architecture) -> CostWorkload:
        """The request with the model's own defaults filled in."""
        limit = architecture.context_len
        if architecture.kind == "image":
            prompt_len = context_len = limit or 1
        else:
            prompt_len = _given(self.prompt_len, DEFAULT_PROMPT_LEN, limit)
            context_len = _given(self.context_len, prompt_len + DEFAULT_NEW_TOKENS, limit)
        dtype = self.dtype or architecture.weights_dtype or "fp32"
        return CostWorkload(
            prompt_len=prompt_len,
            context_len=context_len,
            batch_size=self.batch_size,
            dtype=dtype,
            weight_dtype=self.quantize or dtype,
            kv_dtype=self.kv_dtype or dtype,
            tensor_parallel=self.tensor_parallel,
            data_parallel=self.data_parallel,
            pipeline_parallel=self.pipeline_parallel,
            mode=self.mode,
        )


def _given(stated: int | None, default: int, limit: int | None) -> int:
    """What was stated, right or wrong; a default never exceeds the model's limit."""
    if stated is not None:
        return stated
    return default if limit is None else min(default, limit)


def _check(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise InputError(f"{option} {value!r} is not offered.", f"Give {', '.join(choices)}.")
