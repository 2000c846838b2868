"""Which Python function, called by a module's forward, an op runs in."""

import inspect
import sys
from types import CodeType, FrameType

import torch
from torch import nn

from topout.models.structure.steps import Call, Helper

_MODULE_CALL = nn.Module._call_impl.__code__
_TORCH = torch.__path__[0]
_HERE = __file__.rpartition("/")[0]
_WRAPPERS = {"wrapper", "wrapped", "inner", "_wrapper", "_fn", "wrapped_func"}


class HelperFinder:
    """Tells helpers apart by the frame that they run in.

    A call has one helper at a time, and its frame is kept while it may run, so that another
    frame cannot come to lie at the same address.
    """

    def __init__(self) -> None:
        self._latest: dict[Call, tuple[FrameType, Helper]] = {}

    def helper_of(self, call: Call) -> Helper | None:
        """The helper that runs now; None when the forward itself does."""
        return self._helper_in(call, _frames_of_call())

    def _helper_in(self, call: Call, frames: list[FrameType]) -> Helper | None:
        frame = _helper_frame(call.module, frames)
        if frame is None:
            # What runs now lies between two parts of a helper, which are no unit then.
            self._latest.pop(call, None)
            return None
        known = self._latest.get(call)
        if known is not None and known[0] is frame:
            return known[1]
        helper = Helper(_name(frame.f_code))
        self._latest[call] = (frame, helper)
        return helper

    def note_call(self, call: Call) -> None:
        """A module has just been called within `call`: a helper that does so is no unit."""
        helper = self._helper_in(call, _frames_of_call(outside=1))
        if helper is not None:
            helper.holds_calls = True

    def forget(self, call: Call) -> None:
        """`call` has ended."""
        self._latest.pop(call, None)


def _helper_frame(module: nn.Module, frames: list[FrameType]) -> FrameType | None:
    """The outermost frame under `module`'s forward that is neither PyTorch's nor a wrapper."""
    start = _forward_position(frames, module)
    for frame in frames[start + 1 :]:
        code = frame.f_code
        if code.co_filename.startswith((_TORCH, _HERE)):
            return None
        if code.co_name not in _WRAPPERS and not code.co_name.startswith("<"):
            return frame
    return None


def _frames_of_call(outside: int = 0) -> list[FrameType]:
    """The frames of a module's call, outermost first: the innermost, or so many `outside` it."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_code is not _MODULE_CALL or outside):
        if frame.f_code is _MODULE_CALL:
            outside -= 1
            frames.clear()
        else:
            frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    return frames


def _forward_position(frames: list[FrameType], module: nn.Module) -> int:
    """Where the forward itself runs, under the decorators around it."""
    forward = inspect.getattr_static(type(module), "forward", None)
    code = getattr(inspect.unwrap(forward), "__code__", None) if callable(forward) else None
    named = 0
    for position, frame in enumerate(frames):
        if frame.f_code is code:
            return position
        if frame.f_code.co_name == "forward" and not named:
            named = position
    return named


def _name(code: CodeType) -> str:
    # A forward that is called directly, past the hooks, is told by its class.
    parts = code.co_qualname.rsplit(".", 2)
    return ".".join(parts[-2:]) if code.co_name == "forward" else code.co_name
