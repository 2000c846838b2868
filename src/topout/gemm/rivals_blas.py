"""Rivals with the interface of BLAS, in the libraries that others carry: MKL and OpenBLAS.

MKL is linked into PyTorch's libtorch_cpu statically, which exports only what PyTorch itself needs.
OpenBLAS lies beside numpy.
"""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from topout.errors import UnsupportedError
from topout.gemm.matrices import Matrix

# Of cblas.h, and the last two of mkl_cblas.h.
_ROW_MAJOR, _NO_TRANSPOSE, _PACKED, _B_MATRIX = 101, 111, 151, 162
_CACHE_LINE_BYTES = 64
_LARGEST_MKL_SIZE = 2**31 - 1  # sizes are 32-bit integers
_int, _float, _pointer = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
Product = Callable[[], Matrix]
BF16_PRODUCT = "cblas_gemm_bf16bf16f32"
PACKING = ("cblas_sgemm_pack_get_size", "cblas_sgemm_pack", "cblas_sgemm_compute")
# name: (result, arguments)
_MKL_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "sgemm_": (None, [_pointer] * 13),
    "cblas_sgemm_pack_get_size": (ctypes.c_size_t, [_int] * 4),
    "cblas_sgemm_pack": (None, [*[_int] * 6, _float, _pointer, _int, _pointer]),
    "cblas_sgemm_compute": (
        None,
        [*[_int] * 6, _pointer, _int, _pointer, _int, _float, _pointer, _int],
    ),
    BF16_PRODUCT: (
        None,
        [*[_int] * 6, _float, _pointer, _int, _pointer, _int, _float, _pointer, _int],
    ),
}


def set_up_torch(threads: int) -> None:
    """So many threads in PyTorch, MKL and oneDNN, and fp32 that is fp32 throughout."""
    import torch

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")


def _calling(function: Any, arguments: tuple[Any, ...], output: Matrix, *held: object) -> Product:
    """What calls a function that writes `output`; it holds the memory that arguments point to."""

    def multiply(keep: Any = held) -> Matrix:
        function(*arguments)
        return output

    return multiply


def _calling_cblas(function: Any, a: Matrix, b: Matrix) -> Product:
    """What calls a function with the arguments of `cblas_sgemm`; the result is fp32."""
    (m, k), n = a.shape, b.shape[1]
    output = np.empty((m, n), dtype=np.float32)
    arguments = (
        *(_ROW_MAJOR, _NO_TRANSPOSE, _NO_TRANSPOSE, m, n, k, 1.0),
        *(a.ctypes.data, max(1, k), b.ctypes.data, max(1, n)),
        *(0.0, output.ctypes.data, max(1, n)),
    )
    return _calling(function, arguments, output, a, b)


# --- MKL ---


def prepare_mkl(a: Matrix, b: Matrix, threads: int) -> Product:
    """`sgemm`, as PyTorch calls it, without PyTorch around it."""
    a, b = _for_mkl(a, b, threads)
    (m, k), n = a.shape, b.shape[1]
    # Fortran reads row-major memory as the transpose: Cᵀ = Bᵀ · Aᵀ. It takes all by reference.
    letter, one, zero = ctypes.c_char(b"N"), _float(1.0), _float(0.0)
    sizes = [_int(size) for size in (n, m, k, max(1, n), max(1, k), max(1, n))]
    pn, pm, pk, p_ldb, p_lda, p_ldc = (ctypes.addressof(size) for size in sizes)
    p_letter, p_one, p_zero = (ctypes.addressof(value) for value in (letter, one, zero))
    output = np.empty((m, n), dtype=np.float32)
    arguments = (
        *(p_letter, p_letter, pn, pm, pk, p_one, b.ctypes.data, p_ldb),
        *(a.ctypes.data, p_lda, p_zero, output.ctypes.data, p_ldc),
    )
    return _calling(_mkl_function("sgemm_"), arguments, output, a, b, letter, one, zero, *sizes)


def prepare_mkl_packed(a: Matrix, b: Matrix, threads: int) -> Product:
    """`cblas_sgemm_compute`, with the weights packed by `cblas_sgemm_pack`."""
    a, b = _for_mkl(a, b, threads)
    (m, k), n = a.shape, b.shape[1]
    get_size, pack, compute = (_mkl_function(name) for name in PACKING)
    memory = np.empty(get_size(_B_MATRIX, m, n, k) + _CACHE_LINE_BYTES, dtype=np.uint8)
    packed = memory.ctypes.data + -memory.ctypes.data % _CACHE_LINE_BYTES
    pack(
        *(_ROW_MAJOR, _B_MATRIX, _NO_TRANSPOSE, m, n, k, 1.0),
        *(b.ctypes.data, max(1, n), packed),
    )
    output = np.empty((m, n), dtype=np.float32)
    arguments = (
        *(_ROW_MAJOR, _NO_TRANSPOSE, _PACKED, m, n, k),
        *(a.ctypes.data, max(1, k), packed, max(1, n)),
        *(0.0, output.ctypes.data, max(1, n)),
    )
    return _calling(compute, arguments, output, a, memory)


def prepare_mkl_bf16(a: Matrix, b: Matrix, threads: int) -> Product:
    """`cblas_gemm_bf16bf16f32`: sums and result in fp32."""
    return _calling_cblas(_mkl_function(BF16_PRODUCT), *_for_mkl(a, b, threads))


def _for_mkl(a: Matrix, b: Matrix, threads: int) -> tuple[Matrix, Matrix]:
    """A and B in rows, of sizes that MKL can be told, and its threads set."""
    (m, k), n = a.shape, b.shape[1]
    if max(m, n, k) > _LARGEST_MKL_SIZE:
        raise UnsupportedError(
            f"MKL counts to {_LARGEST_MKL_SIZE}, and a matrix of {m}×{n}×{k} is larger.",
            "Compare without rivals.",
        )
    set_up_torch(threads)  # PyTorch passes the number of its threads on to MKL
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def missing_mkl(*functions: str) -> str | None:
    """Why this PyTorch has no MKL, or does not show these functions of it."""
    import torch

    if not torch._C.has_mkl:
        return "this PyTorch was built without MKL"
    library = _mkl_library()
    if library is None:
        return "PyTorch's library libtorch_cpu is not where MKL's functions could be found"
    hidden = [name for name in functions if not hasattr(library, name)]
    return f"this PyTorch has MKL, but does not export {', '.join(hidden)}" if hidden else None


@functools.cache
def _mkl_library() -> ctypes.CDLL | None:
    import torch

    for file in sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu.*")):
        try:
            return ctypes.CDLL(str(file))
        except OSError:
            continue
    return None


def _mkl_function(name: str) -> Any:
    library = _mkl_library()
    if library is None:
        raise UnsupportedError("PyTorch's library is not found.", "Compare without rivals.")
    function = getattr(library, name)
    function.restype, function.argtypes = _MKL_FUNCTIONS[name]
    return function


# --- OpenBLAS ---


class _Spelling(NamedTuple):
    """How a build names its functions, and how wide its sizes are."""

    sgemm: str
    set_threads: str
    size: Any


_SPELLINGS = (
    _Spelling("scipy_cblas_sgemm64_", "scipy_openblas_set_num_threads64_", ctypes.c_int64),
    _Spelling("scipy_cblas_sgemm", "scipy_openblas_set_num_threads", ctypes.c_int32),
    _Spelling("cblas_sgemm64_", "openblas_set_num_threads64_", ctypes.c_int64),
    _Spelling("cblas_sgemm", "openblas_set_num_threads", ctypes.c_int32),
)


def missing_openblas() -> str | None:
    """Why numpy here carries no OpenBLAS."""
    if _openblas() is None:
        return f"numpy carries no OpenBLAS here; its BLAS is {_blas_of_numpy()}"
    return None


def prepare_openblas(a: Matrix, b: Matrix, threads: int) -> Product:
    """`cblas_sgemm`, with the kernels that it chose when it was loaded."""
    found = _openblas()
    assert found is not None, missing_openblas()
    library, names = found
    getattr(library, names.set_threads)(_int(threads))
    function, size = getattr(library, names.sgemm), names.size
    function.restype = None
    function.argtypes = [
        *([_int] * 3 + [size] * 3),
        *(_float, _pointer, size, _pointer, size),
        *(_float, _pointer, size),
    ]
    return _calling_cblas(function, np.ascontiguousarray(a), np.ascontiguousarray(b))


@functools.cache
def _openblas() -> tuple[ctypes.CDLL, _Spelling] | None:
    """The library and how it spells, where all that is needed is there."""
    for file in _openblas_files():
        try:
            library = ctypes.CDLL(str(file))
        except OSError:
            continue
        for names in _SPELLINGS:
            if hasattr(library, names.sgemm) and hasattr(library, names.set_threads):
                return library, names
    return None


def _openblas_files() -> list[Path]:
    """Files beside numpy that wheels put their libraries into, on Linux and macOS."""
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".libs", package / ".dylibs")
    return [file for folder in folders for file in sorted(folder.glob("*openblas*"))]


def _blas_of_numpy() -> str:
    try:
        config: Any = np.show_config(mode="dicts")  # type: ignore[call-overload,unused-ignore]
        return str(config["Build Dependencies"]["blas"]["name"])
    except (TypeError, KeyError):
        return "not stated"
