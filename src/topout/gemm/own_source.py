"""A user's own matrix product: its starting point, its data type, and compiling it."""

import os
from pathlib import Path

from topout.errors import InputError, OutputError
from topout.kernels.build import RefusedSourceError, first_error
from topout.kernels.gemm_ops import GEMM_FOLDER, GemmBuild, build_gemm, declared_dtype
from topout.records.gemm import GemmDtype

_STARTING_POINT = GEMM_FOLDER / "starting_point.cpp"
_LARGEST_BYTES = 16 << 20
_COMPILED_LANGUAGES = (".cpp", ".cc", ".cxx", ".c++", ".C")


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
    try:
        with destination.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise OutputError(f"{destination} is there already.", "Name a new file.") from None
    except OSError as error:
        raise OutputError(
            f"{destination} cannot be written ({error.strerror}).", "Name a file in your folder."
        ) from None


def check_source(source: Path) -> None:
    """Raise InputError for what is no readable C++ file."""
    if not source.is_file():
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
            "Mend it; the signature is in what `topout gemm init` writes.",
            error.messages,
        ) from None
