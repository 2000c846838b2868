"""Progress on standard error while long work runs; nothing where that is not a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def fraction_progress() -> Iterator[Callable[[str, float], None] | None]:
    """A bar for work that knows how much of it is done: call with (what, fraction)."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measure", total=1.0)
        yield lambda what, fraction: progress.update(task, description=what, completed=fraction)


@contextlib.contextmanager
def stage_progress() -> Iterator[Callable[[str], None]]:
    """A line that says what happens now and for how long; verdicts stay on the screen."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(text: str) -> None:
            progress.update(task, description=escape(text))

        yield show
