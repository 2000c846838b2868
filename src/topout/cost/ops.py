"""`Op`: one kind of op of a pass, with the FLOPs and elements that all its runs need together."""

from collections.abc import Iterable
from typing import Literal

import msgspec

OpKind = Literal[
    "linear", "attention", "convolution", "elementwise", "embedding", "copy", "collective"
]
# FLOPs of these are what is published as a model's FLOPs; those of the others are kept apart.
PRODUCT_KINDS = ("linear", "attention", "convolution")


class Op(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of op of a pass, summed over the layers that run it.

    An element is one number; its size depends on where it lies: with the weights, with the
    activations, or in the KV cache. `fixed_bytes` are those of a size of their own, such as an
    optimizer's states.
    """

    name: str
    part: str = ""  # "attention", "mlp", "norms", "embedding", "head", "convolution", …
    kind: OpKind
    count: int  # how often it runs in a pass
    shape: str = ""
    rows: int = 0  # linear: M, the tokens that share the weights; attention: queries of a sequence
    matrix_elements: int = 0  # linear: N·K of one matrix
    flops: float  # of all runs together, as everything below
    weight_elements: float = 0
    activation_elements: float = 0  # read and written
    kv_elements: float = 0  # read and written
    fixed_bytes: float = 0

    @property
    def is_product(self) -> bool:
        """Whether its FLOPs count as the model's."""
        return self.kind in PRODUCT_KINDS


class ElementSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one element; quantized weights have their scales spread over them."""

    activation: float
    weight: float
    kv: float


class MovedBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that an op moves, by where they lie."""

    weight: float
    activation: float
    kv: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.weight + self.activation + self.kv


def moved_bytes(op: Op, sizes: ElementSizes) -> MovedBytes:
    """What all runs of `op` move between memory and the cores, each tensor once per run."""
    return MovedBytes(
        weight=op.weight_elements * sizes.weight,
        activation=op.activation_elements * sizes.activation + op.fixed_bytes,
        kv=op.kv_elements * sizes.kv,
    )


def product_flops(ops: Iterable[Op]) -> float:
    """FLOPs of matrix products, attention and convolutions."""
    return sum(op.flops for op in ops if op.is_product)


def other_flops(ops: Iterable[Op]) -> float:
    """FLOPs of everything else."""
    return sum(op.flops for op in ops if not op.is_product)
