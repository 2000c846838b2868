"""The errors that a user can cause or meet: one line that names the input and the remedy."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class TopoutError(Exception):
    """A fault that one line explains; the command line prints it and exits with status 2.

    `message` names the offending input; `remedy` says what to do about it. `details` are lines of
    another program, such as a compiler, that are shown below.
    """

    details = ""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} {remedy}".strip())


def told(error: BaseException) -> str:
    """Another's error on one line: its kind, and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


class InputError(TopoutError):
    """An argument, a file or a folder is not usable as given."""


class UnknownNameError(TopoutError):
    """A name of a model, a rung or a machine is not known; the nearest known ones are offered."""

    def __init__(self, kind: str, name: str, known: list[str], remedy: str = "") -> None:
        import difflib

        nearest = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        offer = f"Did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"unknown {kind} {name!r}.", f"{offer} {remedy}".strip())


class WeightsError(TopoutError):
    """A checkpoint is missing, truncated, of an unsafe format, or does not fit its config."""


class UnsupportedError(TopoutError):
    """The request is understood, but this program or this machine cannot carry it out."""


class MissingExtraError(UnsupportedError):
    """A package that only some verbs need is not installed; the remedy is the command."""


class CompilerError(UnsupportedError):
    """No C++ compiler, or one that refused a kernel."""


class RecordError(TopoutError):
    """A JSON file is not a record of the expected kind and schema version."""


class OutputError(TopoutError):
    """A result cannot be written."""


class ReaderGoneError(OutputError):
    """A pipe whose reader has what it wanted, as in `--json >(head)`; the program ends quietly."""


@contextlib.contextmanager
def writing(path: Path, what: str = "output") -> Iterator[None]:
    """Raise OutputError where the system refuses to write `path` in the `with` block."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError(f"nobody reads {path} any more.") from None
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}.",
            f"Choose another place for the {what}.",
        ) from None
