"""Stand-ins for ops whose meta kernel refuses what the real kernels take.

On meta tensors only shapes matter, so a stand-in has to give nothing but the result's shape.
"""

from collections.abc import Callable
from typing import Any

import torch


def _grouped_product(
    left: torch.Tensor, right: torch.Tensor, offs: torch.Tensor | None = None, *_: Any, **__: Any
) -> torch.Tensor:
    """`_grouped_mm`: on meta PyTorch takes bf16 alone, on a CPU fp32 too."""
    shape = [left.shape[-2], right.shape[-1]]
    if left.dim() == right.dim() == 3:
        shape.insert(0, left.shape[0])
    elif left.dim() == right.dim() == 2 and offs is not None:  # groups of the inner dimension
        shape.insert(0, offs.shape[0])
    return left.new_empty(shape)


_STAND_INS: dict[str, Callable[..., torch.Tensor]] = {"aten::_grouped_mm": _grouped_product}


def stand_in(name: str, args: tuple[Any, ...]) -> Callable[..., torch.Tensor] | None:
    """What runs in the place of op `name` on meta tensors; None: the op itself."""
    if name not in _STAND_INS or not args or args[0].device.type != "meta":
        return None
    return _STAND_INS[name]
