"""With which status the program ends, and what it says then: one line, never a traceback."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from topout.cli.signals import Ending
from topout.cli.standard_streams import StandardOutputError, drop_output
from topout.errors import ReaderGoneError, TopoutError
from topout.progress import say
from topout.visible_text import one_line

DONE, FAILED, REFUSED, FAULT = 0, 1, 2, 3
STATUSES: Mapping[int, str] = {
    DONE: "Done.",
    FAILED: "A check that was asked for failed, or standard output could not be written.",
    REFUSED: "Bad input, a place that cannot be written, or something that this machine lacks.",
    FAULT: "A fault of topout itself.",
    128 + signal.SIGHUP: "The terminal was closed (SIGHUP).",
    128 + signal.SIGINT: "Interrupted (Ctrl-C).",
    128 + signal.SIGTERM: "Ended (SIGTERM).",
}
"""Each status that the program ends with, and what it means."""

DEBUG_VARIABLE = "TOPOUT_DEBUG"
DEBUG_FLAG = "--debug"
# `topout … | head`, and a terminal that was closed: nobody reads that it failed.
_NOBODY_READS = (errno.EPIPE, errno.EIO)


def ended(run: Callable[[], int], ending: Ending) -> int:
    """The exit status of what runs; what went wrong is said on standard error."""
    try:
        return run()
    except KeyboardInterrupt:
        say(f"topout: {ending.words}")
        return ending.status
    except SystemExit:
        raise
    except BaseException as error:  # a library in Rust panics with what is no Exception
        _say_where(error)
        return _told(error)


def _told(error: BaseException) -> int:
    match error:
        case StandardOutputError():
            drop_output()
            if error.errno not in _NOBODY_READS:
                _say_line(f"cannot write to standard output: {error.strerror}.")
            return FAILED
        case ReaderGoneError():
            return FAILED
        case TopoutError():
            _say_line(str(error))
            if error.details:
                say(error.details.rstrip())
            return REFUSED
        case MemoryError():
            _say_line("the memory does not suffice. Take less at once, or a larger machine.")
            return REFUSED
        case _:
            _say_line(
                f"internal error: {type(error).__name__}: {error} ({_place(error)}). "
                f"This is a fault of topout: please report it, with what {DEBUG_FLAG} shows."
            )
            return FAULT


def _say_line(text: str) -> None:
    say(one_line(f"topout: {text}"))


def _say_where(error: BaseException) -> None:
    """The traceback, where it was asked for."""
    if DEBUG_FLAG in sys.argv[1:] or os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        say("".join(traceback.format_exception(error)).rstrip())


def _place(error: BaseException) -> str:
    """Where it was raised: "kineto.py:70"."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{Path(frames[0].filename).name}:{frames[0].lineno}" if frames else "unknown place"
