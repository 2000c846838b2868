"""What a user asks of `topout gemm`, checked before anything is compiled or measured."""

from pathlib import Path
from typing import get_args

import msgspec

from topout.errors import InputError
from topout.gemm.own_source import check_source, own_dtype
from topout.gemm.shapes import Shape, parse_shape, shapes_of_model, square, sweep
from topout.gemm.versions import find_version, version_names
from topout.records.gemm import GemmDtype

DTYPES: tuple[GemmDtype, ...] = get_args(GemmDtype)
# More threads than a machine has CPUs are of some use to see what happens; so many are none.
_MOST_THREADS = 256


class GemmRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `topout gemm`; None stands for a default.

    Shapes are given ("835x2304x768"), a model's, a sweep's, or all of these; without any it is one
    square product.
    """

    shapes: list[str] = []
    model: str | None = None
    prompt_len: int | None = None  # default: 835 tokens, or what the model has positions for
    batch_size: int = 1
    sweep: bool = False
    dtypes: list[GemmDtype] | None = None  # default: those of `versions` and `source`
    versions: list[str] | None = None  # default: all of the data types
    rivals: bool = True
    threads: list[int] | None = None  # default: all CPUs of the process
    source: str | None = None  # a C++ file of the user's own
    explain: bool = True
    quick: bool = False

    def check(self) -> None:
        """Raise InputError or UnknownNameError that names the first option that cannot be meant."""
        for dtype in self.dtypes or []:
            if dtype not in DTYPES:
                raise InputError(f"unknown dtype {dtype!r}.", f"Give {', '.join(DTYPES)}.")
        self._check_versions()
        if self.model is None and (self.prompt_len is not None or self.batch_size != 1):
            option = "--prompt-len" if self.prompt_len is not None else "--batch-size"
            raise InputError(f"{option} belongs to a model.", "Name one with --model.")
        if self.batch_size < 1:
            raise InputError(f"--batch-size {self.batch_size} is too small.", "Give at least 1.")
        if self.prompt_len is not None and self.prompt_len < 1:
            raise InputError(f"--prompt-len {self.prompt_len} is too small.", "Give at least 1.")
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
        for count in counts:
            if not 1 <= count <= most:
                raise InputError(
                    f"--threads {count} is no number of threads here.", f"Give 1 to {most}."
                )
        return sorted(set(counts))
