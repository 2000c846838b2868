"""The versions of the matrix product, and one product to compare them at."""

from typing import NamedTuple

import msgspec

from topout.errors import InputError, UnknownNameError
from topout.records.gemm import GemmDtype

ELEMENT_BYTES: dict[GemmDtype, int] = {"fp32": 4, "bf16": 2, "int8": 1}  # of A and B
OUTPUT_BYTES = 4  # of an element of C: fp32, or int32
_LARGEST = 2**63 - 1
# γ_K is defined for K·u < 1, with u = 2^-24.
_MOST_TERMS = 2**24 - 1
# Copies of C that PyTorch and its rivals make for themselves, and of B that are packed.
_RIVAL_OUTPUTS, _PACKED_COPIES = 6, 3


class Case(msgspec.Struct, frozen=True):
    """C[m×n] = A[m×k] · B[k×n] in one data type on so many threads."""

    m: int
    n: int
    k: int
    dtype: GemmDtype
    threads: int
    label: str = ""  # what it is in a model: "attention.qkv"
    calls: int = 1  # of one forward pass

    @property
    def flops(self) -> int:
        """Multiplications and additions: 2·m·n·k."""
        return 2 * self.m * self.n * self.k

    @property
    def b_bytes(self) -> int:
        """Bytes of B, the weights."""
        return self.k * self.n * ELEMENT_BYTES[self.dtype]

    @property
    def c_bytes(self) -> int:
        """Bytes of C."""
        return self.m * self.n * OUTPUT_BYTES

    @property
    def least_bytes(self) -> int:
        """Bytes when each of A, B and C moves once."""
        return self.m * self.k * ELEMENT_BYTES[self.dtype] + self.b_bytes + self.c_bytes

    @property
    def arithmetic_intensity(self) -> float:
        """FLOP per byte when each of A, B and C moves once; 0 where nothing moves."""
        return self.flops / self.least_bytes if self.least_bytes else 0.0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute."""
        return self.flops == 0

    def __str__(self) -> str:
        return f"{self.m}x{self.n}x{self.k}"


def check_case(case: Case, *, processes: int, rivals: bool, available_bytes: int) -> None:
    """Refuse what cannot be compared, before anything is allocated.

    `processes` hold the matrices each; `available_bytes` is the memory that is free. Raises
    InputError for negative sizes, sizes whose products overflow, sums so long that no error bound
    holds, no threads, and more memory than there is.
    """
    if min(case.m, case.n, case.k) < 0:
        raise InputError(f"the shape {case} has a negative size.", "Give zero or more: MxNxK.")
    if case.threads < 1:
        raise InputError(f"{case.threads} threads.", "Ask for one thread or more.")
    if max(case.m, case.n, case.k, case.least_bytes, case.flops) > _LARGEST:
        raise InputError(
            f"the shape {case} overflows a count of 64 bits.", "Give a shape that fits into memory."
        )
    needed = bytes_needed(case, processes=processes, rivals=rivals)
    if needed > available_bytes:
        raise InputError(
            f"the shape {case} needs {needed / 2**30:.1f} GiB for its matrices, and "
            f"{available_bytes / 2**30:.1f} GiB are free.",
            "Give a smaller shape, or compare without rivals.",
        )
    if case.dtype != "int8" and case.k > _MOST_TERMS:
        raise InputError(
            f"the shape {case} adds {case.k} terms, and no fp32 error bound holds for so many.",
            f"Give a k of {_MOST_TERMS} or less.",
        )


def bytes_needed(case: Case, *, processes: int, rivals: bool) -> int:
    """Memory of the matrices in all processes, with the copies that versions and rivals make."""
    copies = _PACKED_COPIES * case.b_bytes + (_RIVAL_OUTPUTS * case.c_bytes if rivals else 0)
    return processes * case.least_bytes + copies


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
