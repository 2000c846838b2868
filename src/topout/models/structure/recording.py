"""What one forward pass did: calls of modules and the ops between them, and their sources."""

import dataclasses
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from topout.records import TraceFailure

Shape = tuple[int, ...]

_MODULE_CALL = nn.Module._call_impl.__code__
_TORCH = torch.__path__[0]
_HERE = __file__.rpartition("/")[0]
_WRAPPERS = {"wrapper", "wrapped", "inner", "_wrapper", "_fn", "wrapped_func"}


@dataclass(eq=False, repr=False, slots=True)
class Helper:
    """A Python function, called by a module's forward, that some ops ran in.

    `holds_calls`: modules were called in it too, so that it is no unit between modules.
    """

    name: str
    holds_calls: bool = False


@dataclass(eq=False, repr=False, slots=True)
class Op:
    """A PyTorch function that ran; `sources` are the ops that its tensors come from.

    `kind`: "input" stands for a tensor given to the model; a "view" changes the shape or the
    type of what it is given and computes nothing.
    """

    index: int
    name: str
    call: "Call | None"  # the innermost module that was running
    kind: Literal["input", "compute", "view"] = "compute"
    helper: Helper | None = None
    sources: list["Op"] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    is_mask: bool = False  # of inputs: boolean
    reads_state: bool = False  # takes a parameter or a buffer of the model


@dataclass(eq=False, repr=False, slots=True)
class Call:
    """One call of a module."""

    index: int
    name: str  # qualified name of the module, by its first registration
    module: nn.Module
    parent: "Call | None"
    children: list["Call"] = field(default_factory=list)
    output_shapes: list[Shape] = field(default_factory=list)
    output_bytes: int = 0


@dataclass(eq=False, repr=False, slots=True)
class Recording:
    """A forward pass: its calls and ops in the order in which they began.

    `outputs` pairs the name of each tensor that came out with its op; None where nothing is
    known to have made it. After a failure both lists end where it stopped.
    """

    module: nn.Module
    names: dict[nn.Module, str]
    inputs: list[tuple[str, Shape, int]] = field(default_factory=list)  # name, shape, bytes
    calls: list[Call] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    outputs: list[tuple[str, Shape, Op | None]] = field(default_factory=list)
    failure: TraceFailure | None = None


def named_tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Each tensor in `value` once, with the path to it: "hidden", "states[0]", "out.logits".

    Looks into tuples, lists, mappings and dataclasses; other objects are not opened.
    """
    seen: set[int] = set()
    yield from _walk(value, name, seen)


def _walk(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if id(value) in seen:
        return
    if isinstance(value, Tensor):
        seen.add(id(value))
        yield name, value
    elif isinstance(value, Mapping):
        seen.add(id(value))
        for key, part in value.items():
            yield from _walk(part, f"{name}.{key}" if name else str(key), seen)
    elif isinstance(value, (tuple, list)):
        seen.add(id(value))
        for index, part in enumerate(value):
            yield from _walk(part, f"{name}[{index}]", seen)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        seen.add(id(value))
        for field in dataclasses.fields(value):
            part = getattr(value, field.name, None)
            yield from _walk(part, f"{name}.{field.name}" if name else field.name, seen)


def tensors_in(value: Any) -> list[Tensor]:
    """Each tensor in `value` once."""
    return [tensor for _, tensor in named_tensors(value, "")]


def storage_key(tensor: Tensor) -> int | None:
    """The same for all views of one memory; None for tensors without one, such as sparse ones.

    Meta tensors have a storage each though they hold no bytes.
    """
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None


class Sources:
    """Follows tensors by identity, and memory by storage where a write went through a view."""

    def __init__(self) -> None:
        # Does not keep tensors alive.
        self._made_by: MutableMapping[Tensor, Op] = WeakTensorKeyDictionary()
        self._last_write: dict[int, Op] = {}  # storage → the op that created or last wrote it

    def of(self, tensors: Iterable[Tensor]) -> list[Op]:
        """The ops that these tensors come from, in the order of the tensors."""
        found: dict[Op, None] = {}
        for tensor in tensors:
            maker = self._made_by.get(tensor)
            key = storage_key(tensor)
            writer = None if key is None else self._last_write.get(key)
            if writer is not None and (maker is None or writer.index > maker.index):
                maker = writer
            if maker is not None:
                found[maker] = None
        return list(found)

    def make(self, op: Op, tensors: Iterable[Tensor], fresh: bool) -> None:
        """`op` gave these tensors; `fresh`: in memory of their own."""
        for tensor in tensors:
            self._made_by[tensor] = op
            key = storage_key(tensor)
            if fresh and key is not None:
                self._last_write[key] = op

    def write(self, op: Op, storages: Iterable[int]) -> None:
        """`op` wrote into memory that was there before."""
        for key in storages:
            self._last_write[key] = op


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
        helper = Helper(_frame_name(frame.f_code))
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


def _frame_name(code: CodeType) -> str:
    # A forward that is called directly, past the hooks, is told by its class.
    parts = code.co_qualname.rsplit(".", 2)
    return ".".join(parts[-2:]) if code.co_name == "forward" else code.co_name
