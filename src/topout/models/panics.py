"""What a library in Rust does with a file that it does not expect: it panics.

That is an exception which is no `Exception`, and lines on standard error before it.
"""

import contextlib
import os
from collections.abc import Iterator

from topout.errors import InputError
from topout.visible_text import one_line

_OURS = (InputError, KeyboardInterrupt, SystemExit, MemoryError)
_MOST_CHARACTERS = 200  # of what the library says


@contextlib.contextmanager
def as_input_errors(what: object) -> Iterator[None]:
    """Raise InputError for whatever a library of tokenizers raises in the `with` block.

    `what` is the file that is at fault, unless it is a text that is no UTF-8.
    """
    try:
        with _without_standard_error():
            yield
    except _OURS:
        raise
    except UnicodeEncodeError as error:
        text = repr(error.object)[:_MOST_CHARACTERS]
        raise InputError(f"{text} is not UTF-8.", "Convert it to UTF-8.") from None
    except BaseException as error:
        said = one_line(str(error))[:_MOST_CHARACTERS]
        raise InputError(f"{what} is not a tokenizer ({said}).", "Download it again.") from None


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
    """Nothing of what is written past Python to standard error meanwhile is seen."""
    with contextlib.ExitStack() as stack:
        try:
            former, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        except OSError:  # there is none, or no descriptor is left
            yield
            return
        for descriptor in (former, nowhere):
            stack.callback(os.close, descriptor)
        os.dup2(nowhere, 2)
        stack.callback(os.dup2, former, 2)
        yield
