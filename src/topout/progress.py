"""Progress on standard error while long work runs: what happens now, and lines that stay."""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from topout.visible_text import one_line, visible

Notify = Callable[[str, float], None]
"""Called with what happens now and how much of the whole is done, 0 to 1."""

Announce = Callable[[str], None]
"""Called with a line that stays: a result that more work does not change."""


def silent(what: str, done: float) -> None:
    """A `Notify` that shows nothing."""


def unheard(line: str) -> None:
    """An `Announce` that shows nothing."""


def say(text: str) -> None:
    """A line beside the results, on standard error; nothing where nobody reads it any more."""
    with contextlib.suppress(OSError):
        print(visible(text), file=sys.stderr, flush=True)  # noqa: T201


def part_of(notify: Notify, begin: float, end: float) -> Notify:
    """A `Notify` for one part of the work, whose 0 to 1 are `begin` to `end` of the whole."""
    return lambda what, done: notify(what, begin + (end - begin) * min(1.0, max(0.0, done)))


class Progress:
    """A `Notify` that shows nothing, and announces in plain lines: that without a terminal."""

    def __call__(self, what: str, done: float) -> None:
        """Tell what happens now."""

    def announce(self, line: str) -> None:
        """Print a line that stays."""
        say(one_line(line))


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

    def words(self) -> str:
        """Roughly, as it is known: "about 40 s left", "about 3 min left"."""
        left_s = self.left_s()
        if not left_s:  # unknown, or longer than was thought
            return ""
        rough = f"{math.ceil(left_s)} s" if left_s < 60 else f"{math.ceil(left_s / 60)} min"
        return f"about {rough} left"


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
    from rich.table import Column
    from rich.text import Text

    left = TimeLeft()

    class LeftColumn(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(left.words())

    columns = (
        TimeElapsedColumn(),
        BarColumn(bar_width=16),
        LeftColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
    )
    bar = Bar(*columns, console=Console(stderr=True), transient=True, expand=True)
    task = bar.add_task("", total=1.0)

    class OnTerminal(Progress):
        def __call__(self, what: str, done: float) -> None:
            left.update(done)
            bar.update(task, description=one_line(what), completed=done)

        def announce(self, line: str) -> None:
            bar.console.print(Text(one_line(line)))

    bar.start()
    try:
        yield OnTerminal()
    finally:
        with contextlib.suppress(OSError):  # a terminal that was closed takes nothing back
            bar.stop()
