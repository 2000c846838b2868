"""Who else multiplies matrices here: PyTorch, MKL, oneDNN and OpenBLAS, each as fast as it can be.

A rival is asked for a product in the way in which its own users would, with its inputs laid out
before the clock starts. Its result is checked like that of any version.
"""

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from topout.gemm.rival_mkl import Mkl, MklBf16, MklPacked
from topout.gemm.rival_onednn import OneDnn, OneDnnPacked, OneDnnQuantized
from topout.gemm.rival_openblas import OpenBlas
from topout.gemm.rival_pytorch import PyTorch, PyTorchInt8
from topout.records.gemm import GemmDtype

Matrix = NDArray[Any]
Product = Callable[[], Matrix]
CORETYPE_VARIABLE = "OPENBLAS_CORETYPE"
_AVX512_KERNELS = "SkylakeX"
# What the kernels of that name are compiled for.
_THEIR_INSTRUCTIONS = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}


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
            OneDnnPacked("fp32"),
        ],
        "bf16": [PyTorch("bf16"), MklBf16(), OneDnn("bf16"), OneDnnPacked("bf16")],
        "int8": [PyTorchInt8(), OneDnnQuantized()],
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
