"""Who made which memory: what a module's forward must move, and memory filled out of sight."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from topout.cost.graph.tensors import stored_bytes


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
            address, storage = _memory(tensor)
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
        address, storage = _memory(tensor)
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
        address, storage = _memory(tensor)
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
                address, storage = _memory(leaf)
                if storage is not None and self._made.get(address, -1) >= running.since:
                    total = returned.get(address, 0) + stored_bytes(leaf)
                    returned[address] = min(storage.nbytes(), total)
        parts = (running.reads, running.changes, returned)
        moved = sum(sum(part.values()) for part in parts)
        self.compulsory_bytes[running.name] = self.compulsory_bytes.get(running.name, 0) + moved


def _memory(tensor: torch.Tensor) -> tuple[int, Any]:
    """The memory's address, also of meta tensors, and the memory; None where there is no one."""
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse and other layouts
        return 0, None
    return storage._cdata, storage
