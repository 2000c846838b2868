"""What each module holds: parameters and buffers, each counted once however often it is shared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(slots=True)
class Holding:
    """The parameters and buffers registered in one module itself, not in its parts."""

    parameters: list[Tensor] = field(default_factory=list)
    buffers: list[Tensor] = field(default_factory=list)
    shared: list[Tensor] = field(default_factory=list)  # of both, held by an earlier module too
    shared_with: list[str] = field(default_factory=list)


class Holdings:
    """Gives out each module's holding in the order in which it is asked."""

    def __init__(self) -> None:
        self._owner: dict[int, str] = {}

    def of(self, module: nn.Module, name: str) -> Holding:
        """What `module` holds; what was given out before is marked as shared."""
        holding = Holding(_distinct(module._parameters), _distinct(module._buffers))
        for tensor in (*holding.parameters, *holding.buffers):
            owner = self._owner.setdefault(id(tensor), name)
            if owner != name:
                holding.shared.append(tensor)
                if owner not in holding.shared_with:
                    holding.shared_with.append(owner)
        return holding


def elements(tensors: Iterable[Tensor]) -> int:
    """Numbers in all of them."""
    return sum(tensor.numel() for tensor in tensors)


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of all of them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _distinct(tensors: Mapping[str, Tensor | None]) -> list[Tensor]:
    return list({id(t): t for t in tensors.values() if t is not None}.values())
