"""A process that ends when the one that started it does, however that ends."""

import contextlib
import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to send `with_signal` to this process when its parent ends; elsewhere nothing."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
