"""Where an op belongs: the modules that were running, also for the ops of a backward.

In the forward, hooks tell which modules run. For the backward, PyTorch numbers the nodes of its
graph in the order in which the forward makes them: a node whose number was given out while a
module ran is the backward of an op of that module.
"""

import sys
import threading
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from topout.cost.graph.gradients import leaf_of
from topout.cost.graph.traffic import Traffic
from topout.records.count import CountPhase

Path = tuple[str, ...]  # qualified names, from the target ("") inwards


class AttentionScope(NamedTuple):
    """A causal attention that is running: S·T pairs, and those that its mask leaves."""

    scores: int
    pairs: int


class Place(NamedTuple):
    """The modules an op runs in, and the causal attention that it is a part of."""

    path: Path
    attention: AttentionScope | None


class Places:
    """Follows modules and attention as they run. Enter it as a context."""

    def __init__(self, target: nn.Module | None, target_type: str, traffic: Traffic) -> None:
        self.types: dict[str, str] = {"": target_type}
        self.calls: dict[str, int] = {}
        self.failed: tuple[BaseException, str] | None = None  # and the innermost module
        self._target = target
        self._traffic = traffic
        self._names: dict[int, str] = {}
        self._owners: dict[int, str] = {}  # of parameters
        self._known: list[nn.Module] = []  # kept alive, so that no other takes its identity
        self._here = Place(("",), None)
        self._outer: list[Place] = []
        self._inside_backward = 0  # modules that entered during a backward and still run
        self._starts: list[int] = [0]
        self._started: list[Place] = [self._here]
        self._thread = threading.get_ident()
        self._handles: list[Any] = []
        if target is not None:
            self._name_all(target, "")

    def __enter__(self) -> "Places":
        self._mark()
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def here(self) -> str:
        """The innermost module that is running."""
        return self._here.path[-1]

    def place(self) -> tuple[Place, CountPhase]:
        """Where the op that is about to run belongs."""
        node = torch._C._current_autograd_node()
        if node is None:
            return self._here, "forward"
        if self._inside_backward:
            return self._here, "recomputation"
        parameter = leaf_of(node)
        if parameter is not None:
            return Place(self._path_of(self._owners.get(id(parameter), "")), None), "backward"
        return self._started[bisect_right(self._starts, node._sequence_nr()) - 1], "backward"

    def inside_attention(self, scope: AttentionScope, run: Callable[[], Any]) -> Any:
        """`run()`, with its ops and their backward marked as a part of this attention."""
        outer, self._here = self._here, Place(self._here.path, scope)
        self._mark()
        try:
            return run()
        finally:
            self._here = outer
            self._mark()

    def not_reached(self) -> list[str]:
        """The target's modules that were never called, the outermost of each branch."""
        if self._target is None:
            return []
        found: list[str] = []
        for name, module in self._target.named_modules():
            # Lists and dicts of modules are never called themselves.
            container = isinstance(module, nn.ModuleList | nn.ModuleDict)
            if container or name in self.calls or any(_is_inside(name, f) for f in found):
                continue
            if not any(_is_inside(called, name) for called in self.calls):
                found.append(name)
        return found

    def _enter(self, module: nn.Module, _: Any) -> None:
        name = self._name(module)
        self.types[name] = type(module).__name__
        self.calls[name] = self.calls.get(name, 0) + 1
        self._outer.append(self._here)
        if torch._C._current_graph_task_id() != -1:
            self._inside_backward += 1
            path = self._path_of(name) if self._inside_backward == 1 else self._here.path
        else:
            self._traffic.enter(name)
            path = self._here.path
        self._here = Place(path if name in path else (*path, name), self._here.attention)
        self._mark()

    def _leave(self, module: nn.Module, _: Any, result: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and (self.failed is None or self.failed[0] is not error):
            self.failed = (error, self.here)
        if not self._outer:
            return
        self._here = self._outer.pop()
        if self._inside_backward:
            self._inside_backward -= 1
        else:
            self._traffic.leave(self._name(module), result, finished=error is None)
        self._mark()

    def _mark(self) -> None:
        """From the next node of autograd's graph on, nodes belong to where we are now."""
        if threading.get_ident() != self._thread:
            return  # numbers are given out per thread
        start = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        if self._starts[-1] == start:
            self._started[-1] = self._here
        else:
            self._starts.append(start)
            self._started.append(self._here)

    def _path_of(self, name: str) -> Path:
        """`name` and those around it, by name, that have been called."""
        parts = name.split(".") if name else []
        around = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        return ("", *(each for each in around if each in self.calls))

    def _name(self, module: nn.Module) -> str:
        if id(module) not in self._names:
            taken = {name.partition(".")[0] for name in self._names.values()}
            base = type(module).__name__
            numbered = (f"{base}#{number}" for number in range(2, len(taken) + 3))
            self._name_all(module, next(n for n in (base, *numbered) if n not in taken))
        return self._names[id(module)]

    def _name_all(self, root: nn.Module, prefix: str) -> None:
        for name, module in root.named_modules(prefix=prefix):
            if id(module) in self._names:
                continue
            self._names[id(module)] = name
            self._known.append(module)
            self.types.setdefault(name, type(module).__name__)
            for parameter in module.parameters(recurse=False):
                self._owners.setdefault(id(parameter), name)


def _is_inside(name: str, outer: str) -> bool:
    return name.startswith(f"{outer}.") if outer else True
