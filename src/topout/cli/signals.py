"""SIGTERM and SIGHUP end a verb as Ctrl-C does: what was finished is shown and on disk."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Windows has no SIGHUP.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ending:
    """Which signal ended the verb; SIGINT until another did."""

    def __init__(self) -> None:
        self._number = signal.SIGINT

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt; a later signal does not disturb the end that the first began."""
        self._number = signal.Signals(number)
        for each in _ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    @property
    def status(self) -> int:
        """The exit status of a program that this signal ended: 130, 143 or 129."""
        return 128 + self._number

    @property
    def words(self) -> str:
        """What became of the verb."""
        return "interrupted" if self._number == signal.SIGINT else f"ended by {self._number.name}"


@contextlib.contextmanager
def as_interrupts() -> Iterator[Ending]:
    """Have these signals raise KeyboardInterrupt; those that are ignored (nohup) stay so."""
    ending = Ending()
    former = {}
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                former[number] = signal.signal(number, ending)
    try:
        yield ending
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
