"""The products to compare versions at: given ones, those of a model, and a sweep of sizes."""

import re

import msgspec

from topout.cost.ops import Op
from topout.cost.phases import Phase, Plan, check_workload, forward, prefill
from topout.errors import InputError, UnsupportedError
from topout.gemm.case import Case
from topout.models.architecture import Architecture
from topout.models.architectures.read import find_architecture
from topout.records import CostWorkload
from topout.records.gemm import GemmDtype

DEFAULT_SIZE = 1024
PUBLISHED_PROMPT_LEN = 835  # of the course that the reference figures for GPT-2 come from
SWEEP_SIZES = (64, 128, 256, 512, 1024, 2048)
_LARGEST_SIZE = 2**63 - 1
_GIVEN = re.compile(r"(\d+)[xX×](\d+)[xX×](\d+)", re.ASCII)
# How an op of a cost says which product it is; "8 of 8 experts, " may stand before it.
_OP_SHAPE = re.compile(r"(?:^|, )(\d+)×(\d+) · (\d+)×(\d+)$")


class Shape(msgspec.Struct, frozen=True):
    """C[m×n] = A[m×k] · B[k×n], and what it is in a model."""

    m: int
    n: int
    k: int
    label: str = ""  # "qkv"
    calls: int = 1  # of one forward pass

    def case(self, dtype: GemmDtype, threads: int) -> Case:
        """The shape in a data type on so many threads."""
        return Case(self.m, self.n, self.k, dtype, threads, self.label, self.calls)

    def __str__(self) -> str:
        return f"{self.m}x{self.n}x{self.k}"


def parse_shape(text: str) -> Shape:
    """M×N×K from "835x2304x768"; raises InputError for anything else.

    Zero is a size: there is nothing to compute then, and a version must bear it.
    """
    found = _GIVEN.fullmatch(text.strip())
    if found is None:
        raise InputError(
            f"--shape {text!r} is no shape.", "Give three whole numbers as MxNxK: 835x2304x768."
        )
    # A number of thousands of digits is not even converted.
    if any(len(size) > 19 or int(size) > _LARGEST_SIZE for size in found.groups()):
        raise InputError(
            f"--shape {text[:60]!r} has a size that overflows 64 bits.",
            "Give a shape that fits into memory.",
        )
    m, n, k = (int(size) for size in found.groups())
    return Shape(m, n, k)


def square() -> Shape:
    """The product that is compared when none is asked for."""
    return Shape(DEFAULT_SIZE, DEFAULT_SIZE, DEFAULT_SIZE)


def sweep() -> list[Shape]:
    """Squares from what an L1 cache holds to what no cache does."""
    return [Shape(size, size, size) for size in SWEEP_SIZES]


def shapes_of_model(
    name: str, prompt_len: int | None = None, batch_size: int = 1
) -> tuple[str, list[Shape]]:
    """(the model's name, the distinct products of a prefill with their labels and calls).

    Of an encoder or an image model it is the forward pass. Each sequence gets logits at one
    position, as generation needs them. From the model's configuration alone. The prompt is as long
    as the published one, or as the model has positions for. Raises as `find_architecture` does,
    InputError for sizes below one or more tokens than positions, UnsupportedError for a model
    without linear layers.
    """
    architecture = find_architecture(name)
    limit = architecture.context_len
    if prompt_len is None:
        prompt_len = min(PUBLISHED_PROMPT_LEN, limit or PUBLISHED_PROMPT_LEN)
    shapes = _merged(_phase(architecture, prompt_len, batch_size).ops)
    if not shapes:
        raise UnsupportedError(
            f"{architecture.name} has no linear layers.", "Give shapes with --shape."
        )
    return architecture.name, shapes


def _phase(architecture: Architecture, prompt_len: int, batch_size: int) -> Phase:
    workload = CostWorkload(
        prompt_len=prompt_len,
        context_len=prompt_len,
        batch_size=batch_size,
        dtype="fp32",
        weight_dtype="fp32",
        kv_dtype="fp32",
        tensor_parallel=1,
        data_parallel=1,
        pipeline_parallel=1,
        mode="compiled",
    )
    plan = Plan(architecture=architecture, workload=workload)
    check_workload(plan)
    generates = architecture.kind in ("decoder", "encoder_decoder")
    return prefill(plan) if generates else forward(plan)


def _merged(ops: list[Op]) -> list[Shape]:
    """One shape for all ops of the same sizes, in the order in which a pass meets them first."""
    merged: dict[tuple[int, int, int], Shape] = {}
    for op in ops:
        if op.kind != "linear":
            continue
        shape = _shape_of(op)
        sizes = (shape.m, shape.n, shape.k)
        known = merged.get(sizes)
        if known is not None:
            labels = known.label.split(", ")
            label = known.label if shape.label in labels else f"{known.label}, {shape.label}"
            shape = Shape(*sizes, label, known.calls + shape.calls)
        merged[sizes] = shape
    return list(merged.values())


def _shape_of(op: Op) -> Shape:
    found = _OP_SHAPE.search(op.shape)
    assert found is not None, f"the linear op {op.name} states no product: {op.shape!r}"
    m, k, inner, n = (int(size) for size in found.groups())
    assert k == inner and n * k == op.matrix_elements, op
    # Of a mixture each expert that is met multiplies by itself.
    return Shape(m, n, k, op.name, max(1, round(op.flops / (2 * m * n * k))))
