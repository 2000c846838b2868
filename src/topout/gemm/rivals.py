"""Other implementations of the product: PyTorch, MKL, oneDNN and OpenBLAS.

A rival is asked for a product in the way in which its own users would, with its inputs laid out
before the clock starts. Its result is checked like that of any version. oneDNN is reached through
the operators with which torch.compile calls it. They allocate their result at every call, which in
a library that reuses it would be unfair: pages that are mapped anew cost more than some products.
So freed memory is kept by the process.
"""

import ctypes
import functools
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from topout.gemm.matrices import Matrix
from topout.gemm.rivals_blas import Mkl, MklBf16, MklPacked, OpenBlas, set_up_torch
from topout.records.gemm import GemmDtype

if TYPE_CHECKING:
    from torch import Tensor

Product = Callable[[], Matrix]
CORETYPE_VARIABLE = "OPENBLAS_CORETYPE"
_AVX512_KERNELS = "SkylakeX"
# What the kernels of that name are compiled for.
_THEIR_INSTRUCTIONS = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_ZERO_POINT = 128  # of activations: oneDNN's fast int8 path takes them unsigned
# Of malloc.h: where freed memory goes back to the system, and how many blocks are mapped.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


class Rival(Protocol):
    """One way to multiply that is not ours."""

    @property
    def name(self) -> str:
        """What it is called in results, unique within its data type."""

    @property
    def dtype(self) -> GemmDtype:
        """Of A and B."""

    @property
    def packed_ahead(self) -> bool:
        """Whether B, the weights, is laid out before the clock starts."""

    def reason_missing(self) -> str | None:
        """Why it cannot run here, in words; None where it can."""

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Product:
        """A function that computes A[m×k] · B[k×n] once per call, on so many threads.

        A and B are row-major, bf16 as their bits in uint16. The result is fp32 or int32, or the
        bits of bf16 where the rival rounds to it; the next call may overwrite it. Raises
        UnsupportedError for sizes that the library cannot be told.
        """


def rivals_of(dtype: GemmDtype) -> list[Rival]:
    """Every rival of a data type, those that are missing here included."""
    rivals: dict[GemmDtype, list[Rival]] = {
        "fp32": [
            PyTorch("fp32"),
            Mkl(),
            OneDnn("fp32"),
            OpenBlas(),
            MklPacked(),
            OneDnn("fp32", packed_ahead=True),
        ],
        "bf16": [PyTorch("bf16"), MklBf16(), OneDnn("bf16"), OneDnn("bf16", packed_ahead=True)],
        "int8": [PyTorch("int8"), OneDnnQuantized()],
    }
    return rivals[dtype]


def find_rival(name: str, dtype: GemmDtype) -> Rival:
    """The rival of that name; raises KeyError where there is none."""
    for rival in rivals_of(dtype):
        if rival.name == name:
            return rival
    raise KeyError(name)


def rival_environment(
    environment: Mapping[str, str] = os.environ, cpuinfo: Path = Path("/proc/cpuinfo")
) -> dict[str, str]:
    """Variables to set before numpy is imported, so that OpenBLAS runs its best kernels.

    On processors that it does not know it falls back to AVX2, though they may have AVX-512. What
    a user has set stays.
    """
    if CORETYPE_VARIABLE in environment or platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return {}
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    if _THEIR_INSTRUCTIONS.issubset(flags.partition(":")[2].split()):
        return {CORETYPE_VARIABLE: _AVX512_KERNELS}
    return {}


@dataclass(frozen=True)
class PyTorch:
    """PyTorch's own product, whatever it calls underneath, into an output allocated once.

    `torch.mm` in fp32 and bf16; in int8 `torch._int_mm`, in which its own quantization computes.
    """

    dtype: GemmDtype
    name: str = "pytorch"
    packed_ahead: bool = False

    def reason_missing(self) -> str | None:
        """Why this PyTorch has no product of int8; the others it has."""
        import torch

        has_it = self.dtype != "int8" or hasattr(torch, "_int_mm")
        return None if has_it else "this PyTorch has no torch._int_mm"

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Product:
        """A function that computes the product; bf16 is rounded to bf16, int8 is exact."""
        import torch

        set_up_torch(threads)
        left, right = _tensor_of(a), _tensor_of(b)
        is_int8 = self.dtype == "int8"
        function = torch._int_mm if is_int8 else torch.mm
        output = torch.empty(a.shape[0], b.shape[1], dtype=torch.int32 if is_int8 else left.dtype)
        result = _matrix_of(output)

        def multiply() -> Matrix:
            function(left, right, out=output)
            return result

        return multiply


@dataclass(frozen=True)
class OneDnn:
    """The linear operator, on plain weights or on weights laid out for this very M."""

    dtype: GemmDtype
    packed_ahead: bool = False

    @property
    def name(self) -> str:
        """What it is called in results."""
        return "onednn_packed" if self.packed_ahead else "onednn"

    def reason_missing(self) -> str | None:
        """Why oneDNN cannot be reached here."""
        return _missing_onednn(self.dtype)

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Product:
        """A function that computes the product; bf16 is rounded to bf16."""
        import torch

        set_up_torch(threads)
        _keep_freed_memory()
        # A linear layer has its weights as [n×k]: the transposed view of B, which is not copied.
        left, weight = _tensor_of(a), _tensor_of(b).t()
        if self.packed_ahead:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), a.shape[0])
        operator = torch.ops.mkldnn._linear_pointwise.default
        return lambda: _matrix_of(operator(left, weight, None, "none", [], ""))


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
        return _missing_onednn("int8")

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Product:
        """A function that computes the product with B packed now, as fp32."""
        import torch

        set_up_torch(threads)
        _keep_freed_memory()
        shifted = (a.astype(np.int16) + _ZERO_POINT).astype(np.uint8)
        left = torch.from_numpy(shifted)
        weight = _tensor_of(b).t().contiguous()
        packed = torch.ops.onednn.qlinear_prepack(weight, [a.shape[0], a.shape[1]])
        scales = torch.ones(b.shape[1])
        zero_points = torch.zeros(b.shape[1], dtype=torch.int32)
        operator = torch.ops.onednn.qlinear_pointwise.default
        arguments: tuple[Any, ...] = (
            *(left, 1.0, _ZERO_POINT, packed, scales, zero_points, None, 1.0, 0),
            *(torch.float32, "none", [], ""),
        )
        return lambda: _matrix_of(operator(*arguments))


def _missing_onednn(dtype: GemmDtype) -> str | None:
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


def _tensor_of(matrix: Matrix) -> "Tensor":
    """The same memory as a tensor; uint16 holds the bits of bf16."""
    import torch

    contiguous = np.ascontiguousarray(matrix)
    # PyTorch warns of memory that it may not write to, which nothing here does.
    writable = contiguous if contiguous.flags.writeable else contiguous.copy()
    tensor = torch.from_numpy(writable)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


def _matrix_of(tensor: "Tensor") -> Matrix:
    """The same memory as an array; bf16 as its bits."""
    import torch

    bits = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    matrix: Matrix = bits.numpy()
    return matrix
