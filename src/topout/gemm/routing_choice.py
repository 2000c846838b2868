"""Which compiled product a user means by a version's name or by a file of their own."""

from pathlib import Path

from topout.errors import InputError
from topout.gemm.versions import find_version, version_names
from topout.kernels.gemm_ops import (
    GemmLibrary,
    build_gemm,
    load_gemm,
    load_own_gemm,
    version_source,
)
from topout.records.gemm import GemmDtype

SOURCE_SUFFIXES = (".cpp", ".cc", ".cxx")


class GemmChoice:
    """A version's name or a user's file, and its data type; checked, and not compiled yet.

    Raises UnknownNameError for an unknown version and InputError for what PyTorch's product cannot
    be replaced by: int8, a file that is not there, a data type that the version does not have.
    """

    def __init__(
        self, version: str | None, source: Path | None = None, dtype: GemmDtype | None = None
    ) -> None:
        if (version is None) == (source is None):
            raise InputError(
                "one product takes PyTorch's place at a time.", "Name a version or a source."
            )
        self.version = version
        self.source = source
        self.dtype: GemmDtype = dtype or "fp32"
        if version is not None:
            self.dtype = find_version(version).dtype
            if dtype not in (None, self.dtype):
                raise InputError(
                    f"the version {version} is of {self.dtype}, not of {dtype}.",
                    f"Take one of {', '.join(version_names(dtype))}." if dtype != "int8" else "",
                )
        if self.dtype == "int8":
            raise InputError(
                "int8: no product of PyTorch's mm and addmm has that type to be replaced.",
                "Take a version of fp32 or bf16; `topout gemm` compares those of int8.",
            )
        if source is not None and not source.is_file():
            raise InputError(
                f"there is no file {source}.", "`topout gemm init FILE.cpp` writes one to begin."
            )

    @property
    def name(self) -> str:
        """How it is called in results: the version, or the file's name."""
        if self.source is not None:
            return self.source.name
        assert self.version is not None
        return self.version

    def compile(self) -> None:
        """Compile it and load nothing; raises CompilerError, RefusedSourceError for the source."""
        if self.version is not None:
            build_gemm(version_source(self.version), self.dtype, self.version)
        else:
            assert self.source is not None
            build_gemm(self.source, self.dtype, "own")

    def load(self) -> GemmLibrary:
        """Compile it, or take it from the cache, into this process; raises CompilerError."""
        if self.version is not None:
            return load_gemm(self.version, self.dtype)
        assert self.source is not None
        return load_own_gemm(self.source, self.dtype)


def parse_choice(text: str, source_dtype: GemmDtype = "fp32") -> GemmChoice:
    """What a command line names: a file where it ends as C++ does or has a folder, else a version.

    A file is of `source_dtype`, a version of its own type. Raises as GemmChoice does.
    """
    path = Path(text)
    if path.suffix in SOURCE_SUFFIXES or len(path.parts) > 1:
        return GemmChoice(None, path, source_dtype)
    return GemmChoice(text)


def choose_library(
    version: str | Path | None, source: str | Path | None, dtype: GemmDtype | None
) -> tuple[GemmLibrary, str]:
    """The compiled product that the arguments of `use` name, and what to call it."""
    if isinstance(version, Path):
        if source is not None:
            raise InputError("two sources are given.", "Give one.")
        version, source = None, version
    choice = GemmChoice(version, Path(source) if source is not None else None, dtype)
    return choice.load(), choice.name
