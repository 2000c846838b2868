"""Which op a tensor comes from, through views and in-place writes."""

from collections.abc import Iterable, MutableMapping

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from topout.models.structure.steps import Op
from topout.models.structure.tensors import storage_key


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
