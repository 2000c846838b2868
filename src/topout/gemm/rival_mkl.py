"""Intel's MKL, called in the library that PyTorch carries, past PyTorch.

It is linked into libtorch_cpu statically, which exports only what PyTorch itself needs.
"""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from topout.errors import UnsupportedError
from topout.records.gemm import GemmDtype

Matrix = NDArray[Any]
# Of mkl_cblas.h.
_ROW_MAJOR, _NO_TRANSPOSE, _PACKED, _B_MATRIX = 101, 111, 151, 162
_LARGEST_SIZE = 2**31 - 1  # sizes are 32-bit integers
_CACHE_LINE_BYTES = 64
_int, _float, _pointer = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
# name: (result, arguments)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "sgemm_": (None, [_pointer] * 13),
    "cblas_sgemm_pack_get_size": (ctypes.c_size_t, [_int] * 4),
    "cblas_sgemm_pack": (None, [*[_int] * 6, _float, _pointer, _int, _pointer]),
    "cblas_sgemm_compute": (
        None,
        [*[_int] * 6, _pointer, _int, _pointer, _int, _float, _pointer, _int],
    ),
    "cblas_gemm_bf16bf16f32": (
        None,
        [*[_int] * 6, _float, _pointer, _int, _pointer, _int, _float, _pointer, _int],
    ),
}


@dataclass(frozen=True)
class Mkl:
    """`sgemm`, as PyTorch calls it, without PyTorch around it."""

    dtype: GemmDtype = "fp32"
    name: str = "mkl"
    packed_ahead: bool = False

    def reason_missing(self) -> str | None:
        """Why this PyTorch has no MKL, or does not show it."""
        return _missing("sgemm_")

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product."""
        import numpy as np

        product = _Product(a, b, threads)
        m, n, k = (_int(size) for size in (product.m, product.n, product.k))
        # Fortran reads row-major memory as the transpose: Cᵀ = Bᵀ · Aᵀ.
        letter, one, zero = ctypes.c_char(b"N"), _float(1.0), _float(0.0)
        lda, ldb, ldc = (_int(max(1, size)) for size in (product.k, product.n, product.n))
        held = (letter, letter, n, m, k, one, zero, lda, ldb, ldc)
        reference = [ctypes.addressof(value) for value in held]
        trans_a, trans_b, pn, pm, pk, p_one, p_zero, p_lda, p_ldb, p_ldc = reference
        output = np.empty((product.m, product.n), dtype=np.float32)
        function = _function("sgemm_")
        arguments = (
            *(trans_b, trans_a, pn, pm, pk, p_one),
            *(product.b.ctypes.data, p_ldb, product.a.ctypes.data, p_lda),
            *(p_zero, output.ctypes.data, p_ldc),
        )

        def multiply(keep: Any = (product, held)) -> Matrix:
            function(*arguments)
            return output

        return multiply


@dataclass(frozen=True)
class MklPacked:
    """`cblas_sgemm_compute`, with the weights packed by `cblas_sgemm_pack`."""

    dtype: GemmDtype = "fp32"
    name: str = "mkl_packed"
    packed_ahead: bool = True

    def reason_missing(self) -> str | None:
        """Why this PyTorch has no MKL, or does not show these functions of it."""
        return _missing("cblas_sgemm_pack_get_size", "cblas_sgemm_pack", "cblas_sgemm_compute")

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product with B packed now."""
        import numpy as np

        product = _Product(a, b, threads)
        m, n, k = product.m, product.n, product.k
        needed = _function("cblas_sgemm_pack_get_size")(_B_MATRIX, m, n, k)
        memory = np.empty(needed + _CACHE_LINE_BYTES, dtype=np.uint8)
        packed = memory.ctypes.data + -memory.ctypes.data % _CACHE_LINE_BYTES
        _function("cblas_sgemm_pack")(
            *(_ROW_MAJOR, _B_MATRIX, _NO_TRANSPOSE, m, n, k, 1.0),
            *(product.b.ctypes.data, max(1, n), packed),
        )
        output = np.empty((m, n), dtype=np.float32)
        function = _function("cblas_sgemm_compute")
        arguments = (
            *(_ROW_MAJOR, _NO_TRANSPOSE, _PACKED, m, n, k),
            *(product.a.ctypes.data, max(1, k), packed, max(1, n)),
            *(0.0, output.ctypes.data, max(1, n)),
        )

        def multiply(keep: Any = (product, memory)) -> Matrix:
            function(*arguments)
            return output

        return multiply


@dataclass(frozen=True)
class MklBf16:
    """`cblas_gemm_bf16bf16f32`: sums and result in fp32."""

    dtype: GemmDtype = "bf16"
    name: str = "mkl"
    packed_ahead: bool = False

    def reason_missing(self) -> str | None:
        """Why this PyTorch has no MKL, or does not show this function of it."""
        return _missing("cblas_gemm_bf16bf16f32")

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product."""
        import numpy as np

        product = _Product(a, b, threads)
        m, n, k = product.m, product.n, product.k
        output = np.empty((m, n), dtype=np.float32)
        function = _function("cblas_gemm_bf16bf16f32")
        arguments = (
            *(_ROW_MAJOR, _NO_TRANSPOSE, _NO_TRANSPOSE, m, n, k, 1.0),
            *(product.a.ctypes.data, max(1, k), product.b.ctypes.data, max(1, n)),
            *(0.0, output.ctypes.data, max(1, n)),
        )

        def multiply(keep: Any = product) -> Matrix:
            function(*arguments)
            return output

        return multiply


class _Product:
    """A and B in memory that stays, with sizes that MKL can be told, and its threads set."""

    def __init__(self, a: Matrix, b: Matrix, threads: int) -> None:
        import numpy as np

        from topout.gemm.rival_pytorch import set_up_torch

        self.m, self.k = a.shape
        self.n = b.shape[1]
        if max(self.m, self.n, self.k) > _LARGEST_SIZE:
            raise UnsupportedError(
                f"MKL counts to {_LARGEST_SIZE}, and a matrix of {self.m}×{self.n}×{self.k} is "
                "larger.",
                "Compare without rivals.",
            )
        self.a, self.b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        set_up_torch(threads)  # PyTorch passes the number of its threads on to MKL


def _missing(*functions: str) -> str | None:
    import torch

    if not torch._C.has_mkl:
        return "this PyTorch was built without MKL"
    library = _library()
    if library is None:
        return "PyTorch's library libtorch_cpu is not where MKL's functions could be found"
    hidden = [name for name in functions if not hasattr(library, name)]
    return f"this PyTorch has MKL, but does not export {', '.join(hidden)}" if hidden else None


@functools.cache
def _library() -> ctypes.CDLL | None:
    import torch

    for file in sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu.*")):
        try:
            return ctypes.CDLL(str(file))
        except OSError:
            continue
    return None


def _function(name: str) -> Any:
    library = _library()
    if library is None:
        raise UnsupportedError("PyTorch's library is not found.", "Compare without rivals.")
    function = getattr(library, name)
    function.restype, function.argtypes = _FUNCTIONS[name]
    return function
