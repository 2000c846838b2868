"""OpenBLAS, in the copy that numpy carries."""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from topout.records.gemm import GemmDtype

Matrix = NDArray[Any]
_ROW_MAJOR, _NO_TRANSPOSE = 101, 111  # of cblas.h
_int, _float, _pointer = ctypes.c_int, ctypes.c_float, ctypes.c_void_p


class _Spelling(NamedTuple):
    """How a build names its functions, and how wide its sizes are."""

    sgemm: str
    set_threads: str
    corename: str
    size: Any


_SPELLINGS = (
    _Spelling(
        "scipy_cblas_sgemm64_",
        "scipy_openblas_set_num_threads64_",
        "scipy_openblas_get_corename64_",
        ctypes.c_int64,
    ),
    _Spelling(
        "scipy_cblas_sgemm",
        "scipy_openblas_set_num_threads",
        "scipy_openblas_get_corename",
        ctypes.c_int32,
    ),
    _Spelling(
        "cblas_sgemm64_",
        "openblas_set_num_threads64_",
        "openblas_get_corename64_",
        ctypes.c_int64,
    ),
    _Spelling("cblas_sgemm", "openblas_set_num_threads", "openblas_get_corename", ctypes.c_int32),
)


@dataclass(frozen=True)
class OpenBlas:
    """`cblas_sgemm`, with the kernels that it chose when it was loaded."""

    dtype: GemmDtype = "fp32"
    name: str = "openblas"
    packed_ahead: bool = False

    def reason_missing(self) -> str | None:
        """Why numpy here carries no OpenBLAS."""
        if _found() is None:
            return f"numpy carries no OpenBLAS here; its BLAS is {_blas_of_numpy()}"
        return None

    def prepare(self, a: Matrix, b: Matrix, threads: int) -> Callable[[], Matrix]:
        """A function that computes the product."""
        import numpy as np

        found = _found()
        assert found is not None, self.reason_missing()
        library, names = found
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        (m, k), n = a.shape, b.shape[1]
        getattr(library, names.set_threads)(_int(threads))
        output = np.empty((m, n), dtype=np.float32)
        function = getattr(library, names.sgemm)
        size = names.size
        function.restype = None
        function.argtypes = [
            *[_int] * 3,
            *[size] * 3,
            *(_float, _pointer, size, _pointer, size),
            *(_float, _pointer, size),
        ]
        arguments = (
            *(_ROW_MAJOR, _NO_TRANSPOSE, _NO_TRANSPOSE, m, n, k, 1.0),
            *(a.ctypes.data, max(1, k), b.ctypes.data, max(1, n)),
            *(0.0, output.ctypes.data, max(1, n)),
        )

        def multiply(keep: Any = (a, b)) -> Matrix:
            function(*arguments)
            return output

        return multiply


def openblas_kernels() -> str | None:
    """The processor for which OpenBLAS chose its kernels in this process: "Haswell"."""
    found = _found()
    if found is None or not hasattr(found[0], found[1].corename):
        return None
    corename = getattr(found[0], found[1].corename)
    corename.restype = ctypes.c_char_p
    name: bytes = corename()
    return name.decode(errors="replace")


@functools.cache
def _found() -> tuple[ctypes.CDLL, _Spelling] | None:
    """The library and how it spells, where all that is needed is there."""
    for file in _candidates():
        try:
            library = ctypes.CDLL(str(file))
        except OSError:
            continue
        for names in _SPELLINGS:
            if hasattr(library, names.sgemm) and hasattr(library, names.set_threads):
                return library, names
    return None


def _candidates() -> list[Path]:
    """Files beside numpy that wheels put their libraries into, on Linux and macOS."""
    import numpy as np

    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".libs", package / ".dylibs")
    return [file for folder in folders for file in sorted(folder.glob("*openblas*"))]


def _blas_of_numpy() -> str:
    import numpy as np

    try:
        config: Any = np.show_config(mode="dicts")  # type: ignore[call-overload,unused-ignore]
        return str(config["Build Dependencies"]["blas"]["name"])
    except (TypeError, KeyError):
        return "not stated"
