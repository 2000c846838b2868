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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from topout.gemm.matrices import Matrix
from topout.gemm.rivals_blas import (
    BF16_PRODUCT,
    PACKING,
    Product,
    missing_mkl,
    missing_openblas,
    prepare_mkl,
    prepare_mkl_bf16,
    prepare_mkl_packed,
    prepare_openblas,
    set_up_torch,
)
from topout.records.gemm import GemmDtype

if TYPE_CHECKING:
    from torch import Tensor

CORETYPE_VARIABLE = "OPENBLAS_CORETYPE"
_AVX512_KERNELS = "SkylakeX"
# What the kernels of that name are compiled for.
_THEIR_INSTRUCTIONS = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_ZERO_POINT = 128  # of activations: oneDNN's fast int8 path takes them unsigned
# Of malloc.h: where freed memory goes back to the system, and how many blocks are mapped.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


class Rival(NamedTuple):
    """One way to multiply that is not ours.

    `reason_missing()` says in words why it cannot run here, None where it can. `prepare(a, b,
    threads)` gives a function that computes A[m×k] · B[k×n] once per call, on so many threads: A
    and B are row-major, bf16 as their bits in uint16; the result is fp32 or int32, or the bits of
    bf16 where the rival rounds to it, and the next call may overwrite it. It raises
    UnsupportedError for sizes that the library cannot be told.
    """

    name: str  # in results, unique within its data type
    dtype: GemmDtype  # of A and B
    packed_ahead: bool  # whether B, the weights, is laid out before the clock starts
    reason_missing: Callable[[], str | None]
    prepare: Callable[[Matrix, Matrix, int], Product]


def rivals_of(dtype: GemmDtype) -> list[Rival]:
    """Every rival of a data type, those that are missing here included."""
    onednn = partial(_missing_onednn, dtype)
    in_floats = [
        Rival("onednn", dtype, False, onednn, partial(_prepare_onednn, False)),
        Rival("onednn_packed", dtype, True, onednn, partial(_prepare_onednn, True)),
    ]
    rivals: dict[GemmDtype, list[Rival]] = {
        "fp32": [
            Rival("pytorch", dtype, False, lambda: None, _prepare_pytorch),
            Rival("mkl", dtype, False, partial(missing_mkl, "sgemm_"), prepare_mkl),
            in_floats[0],
            Rival("openblas", dtype, False, missing_openblas, prepare_openblas),
            Rival("mkl_packed", dtype, True, partial(missing_mkl, *PACKING), prepare_mkl_packed),
            in_floats[1],
        ],
        "bf16": [
            Rival("pytorch", dtype, False, lambda: None, _prepare_pytorch),
            Rival("mkl", dtype, False, partial(missing_mkl, BF16_PRODUCT), prepare_mkl_bf16),
            *in_floats,
        ],
        "int8": [
            Rival("pytorch", dtype, False, _missing_int8, _prepare_pytorch),
            Rival("onednn_packed", dtype, True, _missing_quantized, _prepare_quantized),
        ],
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


def _missing_int8() -> str | None:
    import torch

    return None if hasattr(torch, "_int_mm") else "this PyTorch has no torch._int_mm"


def _prepare_pytorch(a: Matrix, b: Matrix, threads: int) -> Product:
    """PyTorch's own product, whatever it calls underneath, into an output allocated once.

    `torch.mm`, rounded to bf16 in bf16; in int8 `torch._int_mm`, in which its own quantization
    computes, exactly.
    """
    import torch

    set_up_torch(threads)
    left, right = _tensor_of(a), _tensor_of(b)
    is_int8 = left.dtype == torch.int8
    function = torch._int_mm if is_int8 else torch.mm
    output = torch.empty(a.shape[0], b.shape[1], dtype=torch.int32 if is_int8 else left.dtype)
    result = _matrix_of(output)

    def multiply() -> Matrix:
        function(left, right, out=output)
        return result

    return multiply


def _prepare_onednn(packed_ahead: bool, a: Matrix, b: Matrix, threads: int) -> Product:
    """The linear operator, on plain weights or on weights laid out for this very M."""
    import torch

    set_up_torch(threads)
    _keep_freed_memory()
    # A linear layer has its weights as [n×k]: the transposed view of B, which is not copied.
    left, weight = _tensor_of(a), _tensor_of(b).t()
    if packed_ahead:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), a.shape[0])
    operator = torch.ops.mkldnn._linear_pointwise.default
    return lambda: _matrix_of(operator(left, weight, None, "none", [], ""))


def _missing_quantized() -> str | None:
    import torch

    if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        return "this PyTorch has no quantized operators of oneDNN"
    return _missing_onednn("int8")


def _prepare_quantized(a: Matrix, b: Matrix, threads: int) -> Product:
    """oneDNN's quantized linear operator: scales of 1, and sums that end as fp32.

    They are exact while they stay within 2^24 in magnitude. Shifting the activations to unsigned
    belongs to quantizing them, and is done before the clock starts.
    """
    import torch

    set_up_torch(threads)
    _keep_freed_memory()
    left = torch.from_numpy((a.astype(np.int16) + _ZERO_POINT).astype(np.uint8))
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
