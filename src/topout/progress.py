"""Progress on standard error while long work runs: what happens now, and lines that stay."""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from topout import units
from topout.visible_text import visible

Notify = Callable[[str, float], None]
"""Called with what happens now and how much of the whole is done, 0 to 1."""

Announce = Callable[[str], None]
"""Called with a line that stays: a result that more work does not change."""


def silent(what: str, done: float) -> None:
    """A `Notify` that shows nothing."""


def unheard(line: str) -> None:
    """An `Announce` that shows nothing."""


def part_of(notify: Notify, begin: float, end: float) -> Notify:
    """A `Notify` for one part of the work, whose 0 to 1 are `begin` to `end` of the whole."""
    return lambda what, done: notify(what, begin + (end - begin) * min(1.0, max(0.0, done)))


class Progress:
    """A `Notify` that shows nothing, and announces in plain lines: that without a terminal."""

    def __call__(self, what: str, done: float) -> None:
        """Tell what happens now."""

    def announce(self, line: str) -> None:
        """Print a line that stays."""
        with contextlib.suppress(OSError):  # nobody reads it any more
            print(visible(line), file=sys.stderr, flush=True)  # noqa: T201


class TimeLeft:
    """How long the rest of some work takes, if it goes on at the pace since its first part began.

    What comes before any part is done (calibration) says nothing of the pace.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, float] | None = None  # when, and how much was done
        self._most_done = 0.0
        self._ends_at: float | None = None

    def update(self, done: float) -> None:
        """Note how much of the whole is done, 0 to 1."""
        if done <= self._most_done:
            return
        now, self._most_done = self._clock(), done
        if self._first is None:
            self._first = (now, done)
            return
        began_at, done_then = self._first
        self._ends_at = now + (now - began_at) / (done - done_then) * max(0.0, 1 - done)

    def left_s(self) -> float | None:
        """Seconds; None while nothing is known."""
        return None if self._ends_at is None else max(0.0, self._ends_at - self._clock())


def log_new_lines(logger: logging.Logger, file: Path, begin: int) -> int:
    """Log what another process wrote into `file` since byte `begin`; returns where it ends now.

    Nothing is read where nobody listens.
    """
    if not logger.isEnabledFor(logging.INFO):
        return begin
    try:
        with file.open("rb") as written:
            written.seek(begin)
            text = written.read()
    except OSError:
        return begin
    for line in text.decode(errors="replace").splitlines():
        logger.info("%s: %s", file.stem, line)
    return begin + len(text)


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar with the time passed, about what is left and what happens now, below lines that stay.

    Without a terminal there are the lines alone.
    """
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    left = TimeLeft()

    class LeftColumn(ProgressColumn):
        def render(self, task: Any) -> Text:
            left_s = left.left_s()
            return Text("" if left_s is None else f"about {units.seconds(math.ceil(left_s))} left")

    columns = (
        TimeElapsedColumn(),
        BarColumn(bar_width=16),
        LeftColumn(),
        TextColumn("{task.description}", markup=False),
    )
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=1.0)

    class OnTerminal(Progress):
        def __call__(self, what: str, done: float) -> None:
            left.update(done)
            bar.update(task, description=visible(what), completed=done)

        def announce(self, line: str) -> None:
            bar.console.print(visible(line), markup=False, highlight=False)

    bar.start()
    try:
        yield OnTerminal()
    finally:
        with contextlib.suppress(OSError):  # a terminal that was closed takes nothing back
            bar.stop()
