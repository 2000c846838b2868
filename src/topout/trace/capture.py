"""Records a trace of PyTorch code with named regions: what runs, in which module, in which phase.

The recording is one of PyTorch's own profiler. Around each module's forward lies a region
"module: NAME", around each phase of the work one "phase: NAME"; viewers show them like any other
named region.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.profiler import ProfilerActivity, profile, record_function

from topout.errors import writing
from topout.module_names import ModuleNames

MODULE_PREFIX, PHASE_PREFIX = "module: ", "phase: "


@dataclass(frozen=True)
class PhaseMark:
    """One phase as the clock saw it: seconds of `time.perf_counter`, and memory at its ends."""

    name: str  # "prefill", "decode token 3", "call 1"
    began_s: float
    ended_s: float
    rss_at_begin_bytes: int | None = None
    rss_at_end_bytes: int | None = None

    @property
    def wall_s(self) -> float:
        """How long it took by the clock."""
        return self.ended_s - self.began_s


@dataclass
class Phases:
    """Tells one phase from the next: `begin` ends the one before, `end` ends the last.

    With `recorded` each one is a region of the trace as well, and `memory` is asked at its ends.
    """

    recorded: bool = False
    memory: Callable[[], int | None] = lambda: None
    on_change: Callable[[str], None] = lambda name: None  # before a phase begins; "" at the end
    marks: list[PhaseMark] = field(default_factory=list)
    _name: str | None = None
    _began_s: float = 0.0
    _rss_bytes: int | None = None
    _region: Any = None

    def begin(self, name: str) -> None:
        """From here on runs the phase `name`."""
        self._close()
        self.on_change(name)
        self._name, self._rss_bytes = name, self.memory()
        self._began_s = time.perf_counter()
        if self.recorded:
            self._region = record_function(PHASE_PREFIX + name)
            self._region.__enter__()

    def end(self) -> None:
        """The last phase is over."""
        self._close()
        self.on_change("")

    def _close(self) -> None:
        if self._name is None:
            return
        _wait_for_devices()
        if self._region is not None:
            self._region.__exit__(None, None, None)
            self._region = None
        ended_s = time.perf_counter()
        self.marks.append(
            PhaseMark(self._name, self._began_s, ended_s, self._rss_bytes, self.memory())
        )
        self._name = None


class ModuleRegions:
    """Within it every module's forward is a named region. Enter it as a context.

    Modules of `roots` are named as in `named_modules()`, after the root's own name where it has
    one; others after the class of the outermost module that called them. `on_forward` is told of
    each module before its region begins.
    """

    def __init__(
        self,
        roots: Mapping[str, nn.Module],
        on_forward: Callable[[nn.Module], None] = lambda module: None,
    ) -> None:
        self._on_forward = on_forward
        self._names = ModuleNames(self._note)
        self._open = threading.local()  # a forward may run again on a thread of the backward
        self._handles: list[Any] = []
        self.types: dict[str, str] = {}  # class by name
        for name, root in roots.items():
            self._names.add(root, name, nameless=type(root).__name__)

    def __enter__(self) -> "ModuleRegions":
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._stack.clear()

    @property
    def _stack(self) -> list[Any]:
        if not hasattr(self._open, "stack"):
            self._open.stack = []
        stack: list[Any] = self._open.stack
        return stack

    def _enter(self, module: nn.Module, _: Any) -> None:
        if torch.compiler.is_compiling():
            return  # a compiled module is one region: what is inside has become one function
        self._on_forward(module)
        region = record_function(MODULE_PREFIX + self._names.of(module))
        region.__enter__()  # type: ignore[no-untyped-call]
        self._stack.append(region)

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        if self._stack and not torch.compiler.is_compiling():
            self._stack.pop().__exit__(None, None, None)

    def _note(self, name: str, module: nn.Module) -> None:
        self.types[name] = type(module).__name__


@contextmanager
def capture(
    path: Path,
    roots: Mapping[str, nn.Module],
    on_forward: Callable[[nn.Module], None] = lambda module: None,
) -> Iterator[ModuleRegions]:
    """Record what runs inside, with shapes and allocations, and write it to `path` as JSON.

    Kernels are recorded too where a CUDA device is there; the JSON is gzipped where `path` ends
    in .gz. Raises OutputError when it cannot be written, RuntimeError while another profiler of
    PyTorch is running.
    """
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    recording = profile(activities=activities, record_shapes=True, profile_memory=True)
    regions = ModuleRegions(roots, on_forward)
    with recording, regions:
        with record_function("capture begins"):
            pass  # the first region takes longer than all others
        yield regions
    with writing(path, "trace"):
        recording.export_chrome_trace(str(path))


def _wait_for_devices() -> None:
    """A phase ends when the device has done all that was asked of it."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
