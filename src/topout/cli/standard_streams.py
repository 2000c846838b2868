"""Standard input, output and error: there, able to take every character, their faults told apart.

Formats for other programs (JSON, CSV, Markdown) are UTF-8 whatever the terminal is. What people
read is spelled in characters that the terminal has.
"""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Literal, TextIO

_SPELLED = "topout.spelled"
_SPELLINGS = {
    "×": "x",
    "÷": "/",
    "·": ".",
    "•": "*",
    "→": ">",
    "←": "<",
    "◂": "<",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "⋯": "...",
    "²": "^2",
    "³": "^3",
    "≈": "~",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "µ": "u",
    "“": '"',
    "”": '"',
    "✓": "+",
    "✗": "-",
    "★": "*",
    "☆": "*",
    "└": "`",
    "├": "|",
    "│": "|",
    "─": "-",
    "\xa0": " ",
}


class StandardOutputError(OSError):
    """What was to be shown could not be: a full disk, a closed pipe, no standard output."""


def prepare_streams() -> None:
    """Make the three streams usable: those that were closed, and those of a plain terminal.

    A file opened later must not get the number of a stream that is closed: what is printed, by
    libraries too, would be written into it. Standard output is then open for reading, so that
    writing fails as it should.
    """
    codecs.register_error(_SPELLED, _spelled)
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)
    # Python has None for a stream that was closed when it began.
    sys.stdin = sys.stdin or _stream(0, "r")
    sys.stdout = sys.stdout or _stream(1, "w")
    sys.stderr = sys.stderr or _stream(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SPELLED)


@contextlib.contextmanager
def showing() -> Iterator[None]:
    """Raise StandardOutputError where what the `with` block prints is refused; it ends flushed."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        raise StandardOutputError(error.errno, error.strerror) from error


def print_utf8(text: str) -> None:
    """Print what other programs read."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)


def drop_output() -> None:
    """Have what Python would still flush at its end go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stream(number: int, mode: Literal["r", "w"]) -> TextIO:
    return open(number, mode, encoding="utf-8", closefd=False)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Characters that an encoding lacks in those that it has; "?" for others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(each, "?") for each in lacking), error.end
