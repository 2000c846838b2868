"""The seam between Python and a matrix product in C++, with the signature of `gemm/gemm.h`."""

import ctypes
import re
from pathlib import Path
from typing import Literal, NamedTuple

from topout.errors import CompilerError, UnsupportedError
from topout.kernels.build import (
    SOURCE_FOLDER,
    Abi,
    OpenmpBuild,
    build_with_openmp,
    declare,
    load_openmp_library,
)
from topout.measure.process import Closing

GemmDtype = Literal["fp32", "bf16", "int8"]
GEMM_FOLDER = Path(__file__).parent / "gemm"
# gemm.h, and the parts that the winners share with the native linear layers.
_INCLUDE_FOLDERS = (GEMM_FOLDER, SOURCE_FOLDER)
DTYPE_FLAGS: dict[GemmDtype, tuple[str, ...]] = {
    "fp32": (),
    "bf16": ("-DTOPOUT_GEMM_BF16",),
    "int8": ("-DTOPOUT_GEMM_INT8",),
}
_DECLARATION = re.compile(r"^[ \t]*#[ \t]*define[ \t]+TOPOUT_GEMM_(BF16|INT8)\b", re.MULTILINE)
_DECLARED: dict[str, GemmDtype] = {"BF16": "bf16", "INT8": "int8"}

_int, _long, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
# name: (result, arguments), as in gemm/gemm.h
_GEMM_ABI: Abi = {
    "gemm": (None, [*[_pointer] * 3, *[_long] * 6, _int]),
    "gemm_pack": (_pointer, [_pointer, *[_long] * 3, _int]),
    "gemm_packed": (None, [*[_pointer] * 3, *[_long] * 5, _int]),
    "gemm_free": (None, [_pointer]),
}
_PACKING = ("gemm_pack", "gemm_packed", "gemm_free")


class GemmBuild(NamedTuple):
    """A compiled matrix product; without OpenMP it runs on one thread, whatever it is asked."""

    path: Path
    dtype: GemmDtype
    openmp: bool


class PackedMatrix(Closing):
    """B[k×n] in the order in which its library reads it; close it, or use it in a `with` block."""

    def __init__(self, library: ctypes.CDLL, handle: int, n: int, k: int) -> None:
        self.n = n
        self.k = k
        self._library = library
        self._handle: int | None = handle

    @property
    def handle(self) -> int:
        """What the library knows it by; raises ValueError once it is closed."""
        if self._handle is None:
            raise ValueError("the packed matrix is closed")
        return self._handle

    def close(self) -> None:
        """Give its memory back; safe to call again."""
        if self._handle is not None:
            self._library.gemm_free(self._handle)
            self._handle = None


class GemmLibrary:
    """One loaded matrix product: C[m×n] = A[m×k] · B[k×n], row-major.

    Addresses are those of the first elements; lda, ldb and ldc count elements from one row to the
    next. Nothing is checked here: a wrong address ends the process. Raises CompilerError when the
    library cannot be loaded or has no function `gemm`.
    """

    def __init__(self, build: GemmBuild) -> None:
        self.path, self.dtype, self.openmp = build
        self._library = load_openmp_library(OpenmpBuild(self.path, self.openmp))
        if not hasattr(self._library, "gemm"):
            raise CompilerError(
                f"the compiled matrix product {self.path} has no function `gemm`.",
                'Define it with the signature of gemm.h, as extern "C".',
            )
        self.offers_packing = all(hasattr(self._library, name) for name in _PACKING)
        offered = ("gemm", *(_PACKING if self.offers_packing else ()))
        declare(self._library, {name: _GEMM_ABI[name] for name in offered})
        self._gemm = self._library.gemm

    def multiply(
        self,
        a_address: int,
        b_address: int,
        c_address: int,
        m: int,
        n: int,
        k: int,
        lda: int,
        ldb: int,
        ldc: int,
        threads: int,
    ) -> None:
        """C ← A · B on so many threads; C is not read."""
        self._gemm(a_address, b_address, c_address, m, n, k, lda, ldb, ldc, threads)

    def pack(self, b_address: int, n: int, k: int, ldb: int, threads: int) -> PackedMatrix:
        """B packed ahead of time, to be multiplied many times.

        Raises UnsupportedError when the library offers no packing or has no memory for it.
        """
        if not self.offers_packing:
            raise UnsupportedError(f"{self.path.name} packs nothing ahead.", "Use `multiply`.")
        handle = self._library.gemm_pack(b_address, n, k, ldb, threads)
        if not handle:
            raise UnsupportedError(f"no memory to pack a matrix of {k}×{n}.", "Use smaller shapes.")
        return PackedMatrix(self._library, handle, n, k)

    def multiply_packed(
        self,
        a_address: int,
        packed: PackedMatrix,
        c_address: int,
        m: int,
        n: int,
        k: int,
        lda: int,
        ldc: int,
        threads: int,
    ) -> None:
        """C ← A · B with a B that `pack` made of the same n and k."""
        self._library.gemm_packed(a_address, packed.handle, c_address, m, n, k, lda, ldc, threads)


def build_gemm(source: Path, dtype: GemmDtype, name: str) -> GemmBuild:
    """Compile a file with the signature of gemm.h, or take it from the cache; loads nothing.

    The key is that of all kernels: source, headers, flags, compiler and CPU. Where the compiler
    has no OpenMP the product is built without it. Raises CompilerError, RefusedSourceError when
    the source is at fault.
    """
    # A file that declares its data type itself must not be told it again: a macro redefined.
    flags = DTYPE_FLAGS[dtype] if declared_dtype(source) is None else ()
    built = build_with_openmp(f"gemm-{name}-{dtype}", source, flags, _INCLUDE_FOLDERS)
    return GemmBuild(built.path, dtype, built.openmp)


def declared_dtype(source: Path) -> GemmDtype | None:
    """What a file's own `#define TOPOUT_GEMM_BF16` (or INT8) says; None where it has none."""
    found = _DECLARATION.search(source.read_text(errors="replace"))
    return _DECLARED[found[1]] if found else None


def version_source(name: str) -> Path:
    """The C++ file of a version; raises UnsupportedError where there is none."""
    source = GEMM_FOLDER / f"{name}.cpp"
    if not source.is_file():
        raise UnsupportedError(f"there is no source of the version {name!r}.", "Install again.")
    return source
