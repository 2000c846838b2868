"""What ends with something else: a resource with its `with` block, a process with its parent."""

import contextlib
import ctypes
import signal
import sys
from typing import Self

_PR_SET_PDEATHSIG = 1


class Closing:
    """What holds something until `close`, which the end of a `with` block calls."""

    def close(self) -> None:
        """Give back what is held; safe to call again."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def end_with_parent(with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to send `with_signal` to this process when its parent ends; elsewhere nothing."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
