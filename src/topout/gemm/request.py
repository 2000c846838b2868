"""What a user asks of `topout gemm`, checked before anything is compiled or measured.

The products to compare versions at are given ones, those of a model, or a sweep of sizes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import msgspec

from topout.cost.ops import Op
from topout.cost.phases import Phase, Plan, check_workload, forward, prefill
from topout.errors import InputError, UnsupportedError
from topout.gemm.case import Case, find_version, version_names
from topout.gemm.sources import check_source, own_dtype
from topout.models.architecture import Architecture
from topout.models.architectures.read import find_architecture, find_config
from topout.models.precision import Precision, precision_of, stand_ins
from topout.options import Option, Request
from topout.records import CostWorkload, Machine
from topout.records.gemm import GemmDtype

DEFAULT_SIZE = 1024
PUBLISHED_PROMPT_LEN = 835  # of the course that the reference figures for GPT-2 come from
SWEEP_SIZES = (64, 128, 256, 512, 1024, 2048)
DTYPES: tuple[GemmDtype, ...] = get_args(GemmDtype)
# More threads than a machine has CPUs are of some use to see what happens; so many are none.
_MOST_THREADS = 256
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
    if min(prompt_len, batch_size) < 1:
        raise InputError("the sizes of a product must be ≥ 1.", "Give a longer prompt or batch.")
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


class GemmRequest(Request, frozen=True, kw_only=True):
    """The options of `topout gemm`; None stands for a default.

    Shapes are given ("835x2304x768"), a model's, a sweep's, or all of these; without any it is one
    square product.
    """

    shapes: Annotated[
        list[str],
        Option("C[M×N] = A[M×K] · B[K×N]; can be repeated.", flag="--shape", metavar="MxNxK"),
    ] = msgspec.field(default_factory=list)
    model: Annotated[str | None, Option("All products of a model's prefill.", metavar="MODEL")] = (
        None
    )
    prompt_len: Annotated[
        int | None, Option("With --model: tokens; default: 835, or as many as fit.", least=1)
    ] = None
    batch_size: Annotated[int, Option("With --model: sequences at a time.", least=1)] = 1
    sweep: Annotated[bool, Option("Square products from small to large.")] = False
    dtypes: Annotated[
        list[GemmDtype] | None,
        Option(
            "With commas between; default: of --versions, as --model is published, or fp32.",
            flag="--dtype",
        ),
    ] = None
    versions: Annotated[
        list[str] | None, Option("Names with commas between; default: all.", metavar="NAME,…")
    ] = None
    rivals: Annotated[bool, Option("Time PyTorch, MKL, oneDNN and OpenBLAS too.")] = True
    threads: Annotated[
        list[int] | None,
        Option("Counts with commas between: 1,2,4; default: all CPUs.", metavar="N,…", least=1),
    ] = None
    source: Annotated[
        str | None, Option("A version of your own to compare.", metavar="FILE.cpp")
    ] = None
    explain: Annotated[bool, Option("Say why each is as fast as it is.")] = True
    quick: Annotated[bool, Option("Fewer rounds.")] = False

    def check(self) -> None:
        """Raise InputError or UnknownNameError for options that do not go together."""
        self._check_versions()
        if self.model is None and (self.prompt_len is not None or self.batch_size != 1):
            option = "--prompt-len" if self.prompt_len is not None else "--batch-size"
            raise InputError(f"{option} belongs to a model.", "Name one with --model.")
        if self.source is not None:
            check_source(Path(self.source))
        for shape in self.shapes:
            parse_shape(shape)

    def _check_versions(self) -> None:
        for name in self.versions or []:
            version = find_version(name)
            if self.dtypes is not None and version.dtype not in self.dtypes:
                raise InputError(
                    f"the version {name} computes in {version.dtype}, and --dtype is "
                    f"{', '.join(self.dtypes)}.",
                    f"Add {version.dtype} to --dtype, or leave it out.",
                )
        if self.versions == [] and self.source is None:
            raise InputError(
                "--versions names none.", f"Give some of {', '.join(version_names())}."
            )

    def precision_for(self, machine: Machine) -> Precision | None:
        """That of the model, where it decides the data type; raises as `find_config` does.

        Versions, sources and --dtype overrule it. Raises InputError as `precision_of` does.
        """
        if self.model is None or self.dtypes or self.versions or self.source is not None:
            return None
        found = find_config(self.model)
        usable = stand_ins(machine, "cpu")
        return precision_of(found.name, found.published_dtype, stand_ins=usable)

    def chosen_dtypes(self, default: GemmDtype = "fp32") -> list[GemmDtype]:
        """The data types to compare in, in the order of the ladder, each once."""
        asked = self.dtypes
        if asked is None:
            asked = [find_version(name).dtype for name in self.versions or []]
            if self.source is not None:
                asked.append(own_dtype(Path(self.source)))
        return [dtype for dtype in DTYPES if dtype in (asked or [default])]

    def chosen_versions(self, dtypes: Sequence[GemmDtype]) -> list[str]:
        """The versions to compare, in the order of the ladder; by default all of `dtypes`."""
        if self.versions is not None:
            return [name for name in version_names() if name in self.versions]
        return [name for dtype in dtypes for name in version_names(dtype)]

    def chosen_shapes(self) -> tuple[str | None, list[Shape]]:
        """(the model's name, all shapes in the order asked for, each once)."""
        shapes = [parse_shape(text) for text in self.shapes]
        name = None
        if self.model is not None:
            name, of_model = shapes_of_model(self.model, self.prompt_len, self.batch_size)
            shapes = of_model + shapes
        if self.sweep:
            shapes += sweep()
        distinct: dict[str, Shape] = {}
        for shape in shapes or [square()]:
            distinct.setdefault(str(shape), shape)
        return name, list(distinct.values())

    def chosen_threads(self, usable_cpus: int) -> list[int]:
        """Thread counts from small to large, each once; raises InputError for absurd ones."""
        counts = self.threads if self.threads is not None else [usable_cpus]
        if not counts:
            raise InputError("--threads names none.", "Give counts with commas: 1,2,4.")
        most = max(_MOST_THREADS, usable_cpus)
        if max(counts) > most:
            raise InputError(f"--threads {max(counts)} is out of range.", f"Give 1 to {most}.")
        return sorted(set(counts))


class StartingPointRequest(Request, frozen=True, kw_only=True):
    """The options of `topout gemm init`."""

    path: Annotated[Path, Option("What to write.", metavar="FILE.cpp", positional=True)]
