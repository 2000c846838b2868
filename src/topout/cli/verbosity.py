"""How much is told on standard error beside the results: `-q` nothing, `-v` what is done."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from topout.progress import Progress, progress_bar
from topout.visible_text import one_line, visible


class _Silent(Progress):
    """Lines that stay are not shown either."""

    def announce(self, line: str) -> None:
        """Show nothing."""


class _Visible(logging.Formatter):
    """Names in a line are not obeyed by the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of the library
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _Logged(Progress):
    """What happens is logged when it is something else than before."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, what: str, done: float) -> None:
        if what and what != self._said:
            logging.getLogger("topout.progress").info("%3.0f %% %s", 100 * done, what)
            self._said = what


@contextlib.contextmanager
def telling(quiet: bool, verbose: bool) -> Iterator[Progress]:
    """What is told while a verb is answered.

    `verbose` shows the lines of the logger `topout`, those that workers write among them, and what
    happens now as a line of its own; otherwise it is a bar, and with `quiet` nothing.
    """
    if quiet:
        yield _Silent()
    elif verbose:
        with _log_shown():
            yield _Logged()
    else:
        with progress_bar() as notify:
            yield notify


@contextlib.contextmanager
def _log_shown() -> Iterator[None]:
    """The lines of the logger `topout` on standard error, and as it was before afterwards."""
    logger, handler = logging.getLogger("topout"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(name)s: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
