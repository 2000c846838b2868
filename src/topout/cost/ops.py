"""`Op`: one kind of op of a pass, what it needs, and `OpTime`: how long it takes on a machine.

CONVENTIONS says in words how ops are counted; it stands beside every result.
"""

from collections.abc import Iterable
from typing import Literal, Protocol

import msgspec

from topout.records import CostBound
from topout.records.cost import UNQUANTIZED_PARTS

OpKind = Literal[
    "linear", "attention", "convolution", "elementwise", "embedding", "copy", "collective"
]
Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "send"]
Group = Literal["tensor", "data", "pipeline"]  # the devices that a collective joins
# FLOPs of these are what is published as a model's FLOPs; those of the others are kept apart.
PRODUCT_KINDS = ("linear", "attention", "convolution")

ELEMENT_BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}
# Whole numbers of b bits with a scale for each row, which is as good as nothing, or with a 16-bit
# scale and zero point for each group of so many weights.
ELEMENT_BYTES |= {f"int{bits}": bits / 8 for bits in (2, 3, 4)}
ELEMENT_BYTES |= {
    f"int{bits}-g{group}": bits / 8 + 4 / group
    for bits in (2, 3, 4, 8)
    for group in (16, 32, 64, 128, 256)
}
# bitsandbytes: an fp32 scale for every 64 weights, or a byte for it and an fp32 one for every 256
# of these. OCP's microscaling formats: a byte for every 32; NVIDIA's: one of fp8 for every 16.
ELEMENT_BYTES |= {"nf4": 0.5 + 4 / 64, "nf4-double": 0.5 + (1 + 4 / 256) / 64}
ELEMENT_BYTES |= {"mxfp4": 0.5 + 1 / 32, "nvfp4": 0.5 + 1 / 16}
ELEMENT_BYTES["fp8-b128"] = 1.0 + 4 / 128**2  # an fp32 scale for each block of 128 × 128
CONVENTIONS = (
    "A multiply-add is 2 FLOPs.",
    "FLOPs are those of matrix products, attention and convolutions; norms, activations and sums "
    "are kept apart, one FLOP per element read.",
    "Causal attention counts the pairs that its mask leaves, about half of the full square.",
    "Attention is fused: no matrix of scores goes to memory.",
    "An embedding is a row that is read, not a product.",
    "After a prompt only the last position gets logits; in training all do.",
    "Bytes are what each op reads and writes once: weights, activations, KV cache. 1 GB = 1e9.",
    "Backward is twice forward, 2.5 times for attention; AdamW moves 28 bytes per parameter.",
)


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
    collective: Collective = "all_reduce"  # of the kind "collective"
    over: Group = "tensor"

    @property
    def is_product(self) -> bool:
        """Whether its FLOPs count as the model's."""
        return self.kind in PRODUCT_KINDS


def scaled(op: Op, factor: float) -> Op:
    """`op` with so many times the work of each of its runs."""
    return msgspec.structs.replace(
        op,
        flops=factor * op.flops,
        weight_elements=factor * op.weight_elements,
        activation_elements=factor * op.activation_elements,
        kv_elements=factor * op.kv_elements,
        fixed_bytes=factor * op.fixed_bytes,
    )


def repeated(op: Op, times: int) -> Op:
    """`op` run so many times as often."""
    if times == 1:
        return op
    return msgspec.structs.replace(scaled(op, times), count=times * op.count)


class ElementSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one element; quantized weights have their scales spread over them."""

    activation: float
    weight: float  # of what is quantized
    kv: float
    unquantized_parts: tuple[str, ...] = UNQUANTIZED_PARTS

    def weight_of(self, part: str) -> float:
        """Bytes of a weight of `part`; those that are not quantized are as large as activations."""
        return self.activation if part in self.unquantized_parts else self.weight


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
        weight=op.weight_elements * sizes.weight_of(op.part),
        activation=op.activation_elements * sizes.activation + op.fixed_bytes,
        kv=op.kv_elements * sizes.kv,
    )


def product_flops(ops: Iterable[Op]) -> float:
    """FLOPs of matrix products, attention and convolutions."""
    return sum(op.flops for op in ops if op.is_product)


def other_flops(ops: Iterable[Op]) -> float:
    """FLOPs of everything else."""
    return sum(op.flops for op in ops if not op.is_product)


class OpTime(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of all runs of an op: the slower of compute and memory, then what comes on top."""

    compute_s: float = 0.0
    memory_s: float = 0.0
    overhead_s: float = 0.0
    communication_s: float = 0.0

    @property
    def time_s(self) -> float:
        """max(compute, memory) + overhead + communication."""
        return max(self.compute_s, self.memory_s) + self.overhead_s + self.communication_s

    @property
    def bound(self) -> CostBound:
        """The largest of its parts."""
        parts: dict[CostBound, float] = {
            "compute": self.compute_s,
            "memory": self.memory_s,
            "overhead": self.overhead_s,
            "communication": self.communication_s,
        }
        return max(parts, key=lambda part: parts[part])


class GroupShape(msgspec.Struct, frozen=True, kw_only=True):
    """`size` devices that communicate, every `stride`-th among `span` neighbours."""

    size: int
    stride: int
    span: int


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What an op's time depends on beside the op: data types, and the working set around it."""

    dtype: str  # of activations, and of the arithmetic unless weights and it are both int8
    weight_dtype: str
    kv_dtype: str
    working_set_bytes: float
    unquantized_parts: tuple[str, ...] = UNQUANTIZED_PARTS  # whose weights are of `dtype`
    phase: str = "prefill"
    tensor_parallel: int = 1
    data_parallel: int = 1
    pipeline_parallel: int = 1

    @property
    def groups(self) -> "dict[Group, GroupShape]":
        """The devices that communicate, by what they share; those of one alone are left out.

        Tensor-parallel devices are next to each other, then replicas, then pipeline stages, as
        Megatron-LM lays them out.
        """
        tensor, data, stages = self.tensor_parallel, self.data_parallel, self.pipeline_parallel
        shapes: dict[Group, GroupShape] = {
            "tensor": GroupShape(size=tensor, stride=1, span=tensor),
            "data": GroupShape(size=data, stride=tensor, span=tensor * data),
            "pipeline": GroupShape(
                size=min(2, stages), stride=tensor * data, span=tensor * data * stages
            ),
        }
        return {name: shape for name, shape in shapes.items() if shape.size > 1}

    def weight_dtype_of(self, op: Op) -> str:
        """Of the weights that an op reads."""
        return self.dtype if op.part in self.unquantized_parts else self.weight_dtype

    @property
    def sizes(self) -> ElementSizes:
        """Bytes of each kind of element."""
        return ElementSizes(
            activation=ELEMENT_BYTES[self.dtype],
            weight=ELEMENT_BYTES[self.weight_dtype],
            kv=ELEMENT_BYTES[self.kv_dtype],
            unquantized_parts=self.unquantized_parts,
        )


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How much faster or slower than expected everything may be: the ends of an interval.

    Factors on the expected compute rate, bandwidth, and overhead with communication.
    """

    compute: float = 1.0
    bandwidth: float = 1.0
    overhead: float = 1.0


class OpTimer(Protocol):
    """Predicts op times on one machine."""

    fast: Pace
    slow: Pace

    def missing(self, load: Load) -> str | None:
        """Why nothing can be predicted for this load, or None."""

    def time(self, op: Op, load: Load, pace: Pace) -> OpTime:
        """Seconds of all runs of `op`."""
