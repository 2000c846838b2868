"""What a user means by a version's name or a C++ file of their own: checked, and compiled."""

import os
from pathlib import Path

from topout.errors import InputError, OutputError, writing
from topout.gemm.case import find_version, version_names
from topout.input_file import is_there
from topout.kernels.build import RefusedSourceError, first_error
from topout.kernels.gemm_ops import (
    GEMM_FOLDER,
    GemmBuild,
    GemmLibrary,
    build_gemm,
    declared_dtype,
    version_source,
)
from topout.records.gemm import GemmDtype
from topout.whole_file import whole_file

SOURCE_SUFFIXES = (".cpp", ".cc", ".cxx")
_COMPILED_LANGUAGES = (*SOURCE_SUFFIXES, ".c++", ".C")
_STARTING_POINT = GEMM_FOLDER / "starting_point.cpp"
_LARGEST_BYTES = 16 << 20


class SourceError(InputError):
    """A source that does not compile; `messages` holds all that the compiler said."""

    def __init__(self, message: str, remedy: str, messages: str) -> None:
        self.messages = self.details = messages
        super().__init__(message, remedy)


def write_starting_point(destination: Path) -> None:
    """Write a commented, correct and simple product to begin with.

    Raises OutputError where there is a file already, or none can be written.
    """
    text = _STARTING_POINT.read_text()
    if os.path.lexists(destination):
        raise OutputError(f"{destination} is there already.", "Name a new file.")
    with writing(destination, "file"), whole_file(destination) as unfinished:
        unfinished.write_text(text)


def check_source(source: Path) -> None:
    """Raise InputError for what is no readable C++ file."""
    if not is_there(source) or not source.is_file():
        remedy = "Name a C++ file; `topout gemm init my_gemm.cpp` writes one to begin with."
        raise InputError(f"{source} is not a file.", remedy)
    if source.suffix not in _COMPILED_LANGUAGES:
        raise InputError(
            f"{source} is not named like a C++ file.", f"Name it {source.stem or 'my_gemm'}.cpp."
        )
    if not os.access(source, os.R_OK):
        raise InputError(f"{source} may not be read.", "Give yourself the right to read it.")
    if source.stat().st_size > _LARGEST_BYTES:
        raise InputError(f"{source} is larger than 16 MiB.", "Name the source, not the data.")


def own_dtype(source: Path) -> GemmDtype:
    """The data type that a source is written for: fp32, unless it defines another.

    Raises InputError for what is no readable C++ file.
    """
    check_source(source)
    return declared_dtype(source) or "fp32"


def build_own(source: Path) -> GemmBuild:
    """Compile a user's file, or take it from the cache; nothing of it runs.

    Raises InputError for what is no readable C++ file, SourceError for what does not compile, and
    CompilerError where there is no compiler.
    """
    dtype = own_dtype(source)
    try:
        return build_gemm(source.resolve(), dtype, "own")
    except RefusedSourceError as error:
        raise SourceError(
            f"{source} does not compile: {first_error(error.messages)}",
            "Correct it; the signature is in what `topout gemm init` writes.",
            error.messages,
        ) from None


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

    def compile(self) -> GemmBuild:
        """Compile it and load nothing; raises CompilerError, RefusedSourceError for the source."""
        if self.source is not None:
            return build_gemm(self.source, self.dtype, "own")
        assert self.version is not None
        return build_gemm(version_source(self.version), self.dtype, self.version)

    def load(self) -> GemmLibrary:
        """Compile it, or take it from the cache, into this process; raises CompilerError."""
        return GemmLibrary(self.compile())


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
