"""Where an op belongs, and who made which memory: what a module's forward must move.

In the forward, hooks tell which modules run. For the backward, PyTorch numbers the nodes of its
graph in the order in which the forward makes them: a node whose number was given out while a
module ran is the backward of an op of that module.
"""

import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._pytree import tree_leaves

from topout.cost.graph.formula import stored_bytes
from topout.module_names import ModuleNames
from topout.records.count import CountPhase

Path = tuple[str, ...]  # qualified names, from the target ("") inwards


@dataclass(slots=True)
class _Open:
    """A forward that is running: bytes of memory made before it that it reads and changes."""

    name: str | None  # None: the whole run
    since: int
    reads: dict[int, int] = field(default_factory=dict)
    changes: dict[int, int] = field(default_factory=dict)


class Traffic:
    """Follows memory, not tensors: views share it.

    Weak references to all memory seen keep its address from being given to other memory.
    """

    def __init__(self) -> None:
        self._made: dict[int, int] = {}  # address → number of the op that made it
        self._kept: list[StorageWeakRef] = []
        self._unwritten: set[int] = set()
        self._open: list[_Open] = [_Open(None, 0)]
        self._number = 0
        self.compulsory_bytes: dict[str | None, int] = {}

    def make(self, tensors: Iterable[torch.Tensor], unwritten: bool) -> None:
        """An op gave these; `unwritten`: it reserved them and wrote nothing."""
        self._number += 1
        for tensor in tensors:
            address, storage = storage_of(tensor)
            if storage is None:
                continue
            if address not in self._made:
                self._made[address] = self._number
                self._kept.append(StorageWeakRef(storage))  # type: ignore[no-untyped-call]
                # On meta there is no content, and nothing that could write it out of sight.
                if unwritten and tensor.numel() and tensor.device.type != "meta":
                    self._unwritten.add(address)
            if not unwritten:
                self._unwritten.discard(address)

    def read(self, tensor: torch.Tensor, read_bytes: int, in_forward: bool) -> bool:
        """Note a read; True where nothing that was seen has ever written to this memory."""
        address, storage = storage_of(tensor)
        if storage is None or not read_bytes:
            return False
        if in_forward:
            self._add(address, storage.nbytes(), read_bytes, changes=False)
        if address not in self._unwritten:
            return False
        self._unwritten.discard(address)
        return True

    def change(self, tensor: torch.Tensor, written_bytes: int, in_forward: bool) -> None:
        """Note a write to an argument."""
        address, storage = storage_of(tensor)
        if storage is None:
            return
        self._unwritten.discard(address)
        if in_forward:
            self._add(address, storage.nbytes(), written_bytes, changes=True)

    def _add(self, address: int, limit: int, moved: int, changes: bool) -> None:
        made = self._made.get(address, -1)
        for running in reversed(self._open):
            if made >= running.since:
                return  # made inside of this one, hence inside of those around it
            seen = running.changes if changes else running.reads
            seen[address] = min(limit, seen.get(address, 0) + moved)

    def enter(self, name: str) -> None:
        """A module's forward starts."""
        self._open.append(_Open(name, self._number + 1))

    def leave(self, name: str, result: Any, finished: bool) -> None:
        """The forward of module `name` ends; `finished` is False where it was broken off."""
        while self._open and self._open[-1].name != name:
            self._open.pop()
        if self._open:
            self._close(self._open.pop(), result, finished)

    def end(self, result: Any) -> None:
        """The whole forward has ended with `result`."""
        self._close(self._open[0], result, finished=True)

    def _close(self, running: _Open, result: Any, finished: bool) -> None:
        if not finished:
            return
        returned: dict[int, int] = {}
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                address, storage = storage_of(leaf)
                if storage is not None and self._made.get(address, -1) >= running.since:
                    total = returned.get(address, 0) + stored_bytes(leaf)
                    returned[address] = min(storage.nbytes(), total)
        parts = (running.reads, running.changes, returned)
        moved = sum(sum(part.values()) for part in parts)
        self.compulsory_bytes[running.name] = self.compulsory_bytes.get(running.name, 0) + moved


def storage_of(tensor: torch.Tensor) -> tuple[int, Any]:
    """The memory's address, also of meta tensors, and the memory; None where there is no one."""
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse and other layouts
        return 0, None
    return storage._cdata, storage


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
        self._names = ModuleNames(self._note)
        self._owners: dict[int, str] = {}  # of parameters
        self._here = Place(("",), None)
        self._outer: list[Place] = []
        self._inside_backward = 0  # modules that entered during a backward and still run
        self._starts: list[int] = [0]
        self._started: list[Place] = [self._here]
        self._thread = threading.get_ident()
        self._handles: list[Any] = []
        if target is not None:
            self._names.add(target, "")

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
        name = self._names.of(module)
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
            self._traffic.leave(self._names.of(module), result, finished=error is None)
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

    def _note(self, name: str, module: nn.Module) -> None:
        self.types.setdefault(name, type(module).__name__)
        for parameter in module.parameters(recurse=False):
            self._owners.setdefault(id(parameter), name)


def _is_inside(name: str, outer: str) -> bool:
    return name.startswith(f"{outer}.") if outer else True


def leaf_of(node: Any) -> torch.Tensor | None:
    """The parameter or input that `node` of autograd's graph stores a gradient into, if any."""
    if type(node).__name__ != "AccumulateGrad":
        return None
    leaf: torch.Tensor = node.variable
    return leaf
