"""Tensors written to safetensors files: what the system refuses is an OutputError, as elsewhere."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from topout.errors import OutputError, writing


@contextlib.contextmanager
def writing_tensors(path: Path, what: str = "output") -> Iterator[None]:
    """Raise OutputError where `path` cannot be written by the library in the `with` block."""
    from safetensors import SafetensorError

    try:
        with writing(path, what):
            yield
    except SafetensorError as error:  # of a full disk, which the library words itself
        reason = str(error).removeprefix("Error while serializing: ")
        raise OutputError(
            f"cannot write {path}: {reason}.", f"Choose another place for the {what}."
        ) from None
