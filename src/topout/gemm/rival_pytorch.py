"""PyTorch's own product, whatever it calls underneath."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from topout.records.gemm import GemmDtype

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[Any]


@dataclass(frozen=True)
class PyTorch:
    """`torch.mm` into an output that is allocated once, in fp32 or bf16."""

    dtype: GemmDtype
    name: str = "pytorch"
    packed_ahead: bool = False

    def reason_missing(self) -> str | None:
        """Nothing can be missing: topout needs PyTorch itself."""
        return None

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product; bf16 is rounded to bf16."""
        import torch

        set_up_torch(threads)
        left, right = tensor_of(a), tensor_of(b)
        output = torch.empty(a.shape[0], b.shape[1], dtype=left.dtype)
        result = matrix_of(output)

        def multiply() -> Matrix:
            torch.mm(left, right, out=output)
            return result

        return multiply


@dataclass(frozen=True)
class PyTorchInt8:
    """`torch._int_mm`: int8 by int8 to int32, in which PyTorch's own quantization computes."""

    dtype: GemmDtype = "int8"
    name: str = "pytorch"
    packed_ahead: bool = False

    def reason_missing(self) -> str | None:
        """Why this PyTorch has no such product."""
        import torch

        return None if hasattr(torch, "_int_mm") else "this PyTorch has no torch._int_mm"

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product, exactly."""
        import torch

        set_up_torch(threads)
        left, right = tensor_of(a), tensor_of(b)
        output = torch.empty(a.shape[0], b.shape[1], dtype=torch.int32)
        result = matrix_of(output)

        def multiply() -> Matrix:
            torch._int_mm(left, right, out=output)
            return result

        return multiply


def set_up_torch(threads: int) -> None:
    """So many threads in PyTorch, MKL and oneDNN, and fp32 that is fp32 throughout."""
    import torch

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")


def tensor_of(matrix: Matrix) -> "Tensor":
    """The same memory as a tensor; uint16 holds the bits of bf16."""
    import numpy as np
    import torch

    contiguous = np.ascontiguousarray(matrix)
    # PyTorch warns of memory that it may not write to, which nothing here does.
    writable = contiguous if contiguous.flags.writeable else contiguous.copy()
    tensor = torch.from_numpy(writable)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


def matrix_of(tensor: "Tensor") -> Matrix:
    """The same memory as an array; bf16 as its bits."""
    import torch

    bits = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    matrix: Matrix = bits.numpy()
    return matrix
