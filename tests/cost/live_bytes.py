"""What PyTorch itself keeps: tensors saved for backward, and bytes alive from op to op."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def saved_bytes(model: torch.nn.Module, forward: Callable[[], Any]) -> int:
    """Bytes of the distinct storages that autograd saves, without parameters and buffers."""
    given = {_storage(tensor) for tensor in [*model.parameters(), *model.buffers()]}
    kept: list[torch.Tensor] = []  # alive, so that no storage takes the place of another
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and _storage(tensor) not in given:
            kept.append(tensor)
            sizes[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(sizes.values())


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that ops make while it is active, and the most at a time."""

    def __init__(self, *given: torch.Tensor) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {_storage(tensor) for tensor in given}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())

    def _drop(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self.now -= size


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
