"""oneDNN, through the operators with which torch.compile calls it.

They allocate their result at every call. In a library that reuses it that would be unfair: pages
that are mapped anew cost more than some products. So freed memory is kept by the process.
"""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from topout.gemm.rival_pytorch import matrix_of, set_up_torch, tensor_of
from topout.records.gemm import GemmDtype

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[Any]
_ZERO_POINT = 128  # of activations: oneDNN's fast int8 path takes them unsigned
# Of malloc.h: where freed memory goes back to the system, and how many blocks are mapped.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class OneDnn:
    """The linear operator on plain weights."""

    dtype: GemmDtype
    name: str = "onednn"
    packed_ahead: bool = False

    def reason_missing(self) -> str | None:
        """Why oneDNN cannot be reached here."""
        return _missing(self.dtype)

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product; bf16 is rounded to bf16."""
        set_up_torch(threads)
        # A linear layer has its weights as [n×k]: the transposed view of B, which is not copied.
        return _linear(tensor_of(a), tensor_of(b).t())


@dataclass(frozen=True)
class OneDnnPacked:
    """The linear operator on weights that oneDNN has laid out for this very M."""

    dtype: GemmDtype
    name: str = "onednn_packed"
    packed_ahead: bool = True

    def reason_missing(self) -> str | None:
        """Why oneDNN cannot be reached here."""
        return _missing(self.dtype)

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product with B packed now; bf16 is rounded to bf16."""
        import torch

        set_up_torch(threads)
        weight = tensor_of(b).t().contiguous()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, a.shape[0])
        return _linear(tensor_of(a), packed)


@dataclass(frozen=True)
class OneDnnQuantized:
    """The quantized linear operator: scales of 1, and sums that end as fp32.

    They are exact while they stay within 2^24 in magnitude. Shifting the activations to unsigned
    belongs to quantizing them, and is done before the clock starts.
    """

    dtype: GemmDtype = "int8"
    name: str = "onednn_packed"
    packed_ahead: bool = True

    def reason_missing(self) -> str | None:
        """Why oneDNN, or its quantized operator, cannot be reached here."""
        import torch

        if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
            return "this PyTorch has no quantized operators of oneDNN"
        return _missing("int8")

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product with B packed now, as fp32."""
        import numpy as np
        import torch

        set_up_torch(threads)
        _keep_freed_memory()
        shifted = (a.astype(np.int16) + _ZERO_POINT).astype(np.uint8)
        left = torch.from_numpy(shifted)
        weight = tensor_of(b).t().contiguous()
        packed = torch.ops.onednn.qlinear_prepack(weight, [a.shape[0], a.shape[1]])
        scales = torch.ones(b.shape[1])
        zero_points = torch.zeros(b.shape[1], dtype=torch.int32)
        operator = torch.ops.onednn.qlinear_pointwise.default

        def multiply() -> Matrix:
            result = operator(
                *(left, 1.0, _ZERO_POINT, packed, scales, zero_points, None, 1.0, 0),
                *(torch.float32, "none", [], ""),
            )
            return matrix_of(result)

        return multiply


def _linear(left: "Tensor", weight: "Tensor") -> Callable[[], Matrix]:
    import torch

    _keep_freed_memory()
    operator = torch.ops.mkldnn._linear_pointwise.default

    def multiply() -> Matrix:
        return matrix_of(operator(left, weight, None, "none", [], ""))

    return multiply


def _missing(dtype: GemmDtype) -> str | None:
    import torch

    if not torch._C._has_mkldnn:
        return "this PyTorch was built without oneDNN"
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return "this PyTorch does not offer oneDNN's linear operator by itself"
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    if dtype == "bf16" and supported is not None and not supported():
        return "oneDNN does not compute in bf16 on this processor"
    return None


@functools.cache
def _keep_freed_memory() -> None:
    """Let malloc neither map large blocks of their own nor give freed memory back."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # not glibc: its allocator decides
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
