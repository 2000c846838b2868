"""What a user asks of `topout gemm`, checked before anything is compiled or measured."""

from pathlib import Path
from typing import Annotated, get_args

import msgspec

from topout.errors import InputError
from topout.gemm.own_source import check_source, own_dtype
from topout.gemm.shapes import Shape, parse_shape, shapes_of_model, square, sweep
from topout.gemm.versions import find_version, version_names
from topout.options import Option, Request
from topout.records.gemm import GemmDtype

DTYPES: tuple[GemmDtype, ...] = get_args(GemmDtype)
# More threads than a machine has CPUs are of some use to see what happens; so many are none.
_MOST_THREADS = 256


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
        Option("With commas between; default: those of --versions, or fp32.", flag="--dtype"),
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

    def chosen_dtypes(self) -> list[GemmDtype]:
        """The data types to compare in, in the order of the ladder, each once."""
        asked = self.dtypes
        if asked is None:
            asked = [find_version(name).dtype for name in self.versions or []]
            if self.source is not None:
                asked.append(own_dtype(Path(self.source)))
        return [dtype for dtype in DTYPES if dtype in (asked or ["fp32"])]

    def chosen_versions(self) -> list[str]:
        """The versions to compare, in the order of the ladder; all of the data types by default."""
        if self.versions is not None:
            return [name for name in version_names() if name in self.versions]
        return [name for dtype in self.chosen_dtypes() for name in version_names(dtype)]

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
