"""Progress on standard error while long work runs; nothing where that is not a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator

Notify = Callable[[str, float], None]
"""Called with what happens now and how much of the whole is done, 0 to 1."""


def silent(what: str, done: float) -> None:
    """A `Notify` that shows nothing."""


def part_of(notify: Notify, begin: float, end: float) -> Notify:
    """A `Notify` for one part of the work, whose 0 to 1 are `begin` to `end` of the whole."""
    return lambda what, done: notify(what, begin + (end - begin) * min(1.0, max(0.0, done)))


@contextlib.contextmanager
def progress_bar() -> Iterator[Notify]:
    """A bar with the time that has passed and what happens now; silent without a terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TimeElapsedColumn(), BarColumn(bar_width=16), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda what, done: progress.update(task, description=escape(what), completed=done)
