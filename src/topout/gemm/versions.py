"""The versions of the matrix product, in the order in which they teach."""

from typing import NamedTuple

from topout.errors import UnknownNameError
from topout.records.gemm import GemmDtype


class Version(NamedTuple):
    """One file `kernels/gemm/NAME.cpp`, and in one sentence what it changes."""

    name: str
    dtype: GemmDtype
    change: str


# Those in fp32 are the ladder: each stands on the one before it.
VERSIONS: tuple[Version, ...] = (
    Version("naive", "fp32", "The definition: three loops, one element of C after the other."),
    Version("loop_order", "fp32", "The innermost loop runs along rows of B and C, not down B."),
    Version("tiled", "fp32", "Blocks of the matrices that stay in a cache while they are reused."),
    Version("packed", "fp32", "Blocks are copied into the order in which they are read."),
    Version("simd", "fp32", "A micro-kernel holds a tile of C in vector registers."),
    Version(
        "threaded", "fp32", "Blocked for every level of the caches, with a fixed share per thread."
    ),
    Version("prepacked", "fp32", "B, the constant weights, is packed once and ahead of time."),
    Version("bf16", "bf16", "Inputs of half the size, and pairs of products in one instruction."),
    Version("int8", "int8", "Inputs of a quarter, and sums of four products in one instruction."),
)


def find_version(name: str) -> Version:
    """The version of that name; raises UnknownNameError that offers the nearest."""
    for version in VERSIONS:
        if version.name == name:
            return version
    names = version_names()
    raise UnknownNameError("version", name, names, f"There are {', '.join(names)}.")


def version_names(dtype: GemmDtype | None = None) -> list[str]:
    """Names in the order of the ladder, of one data type or of all."""
    return [version.name for version in VERSIONS if dtype in (None, version.dtype)]
