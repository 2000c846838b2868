"""One call of an op as formulas see it, and what a formula answers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from topout.cost.graph.tensors import tensors_in


@dataclass(frozen=True, slots=True)
class OpWork:
    """What one call of an op does.

    `flops`: of products (a multiply-add is 2); `causal_flops`: the same where a causal mask
    leaves less; None: no less. `other_flops`: elementwise work. `read_bytes` and
    `written_bytes` name the arguments of which not all that is stored is read or written; what
    they leave out is counted whole.
    """

    flops: int = 0
    causal_flops: int | None = None
    other_flops: int = 0
    read_bytes: Mapping[str, int] = field(default_factory=dict)
    written_bytes: Mapping[str, int] = field(default_factory=dict)


class Call:
    """An op's name, its arguments by the names of its schema, and its results."""

    __slots__ = ("arguments", "in_place", "name", "results")

    def __init__(self, name: str, arguments: dict[str, Any], result: Any, in_place: bool) -> None:
        self.name = name
        self.arguments = arguments
        self.results = list(tensors_in(result))
        self.in_place = in_place

    def get(self, argument: str, default: Any = None) -> Any:
        """The argument of that name, or `default` where the call leaves it out."""
        value = self.arguments.get(argument)
        return default if value is None else value

    def tensor(self, *names: str) -> torch.Tensor:
        """The first argument among `names` that is a tensor; KeyError where there is none."""
        for name in names:
            value = self.arguments.get(name)
            if isinstance(value, torch.Tensor):
                return value
        raise KeyError(f"{self.name} has no tensor {' or '.join(names)}")

    def shape(self, *names: str) -> tuple[int, ...]:
        """The shape of `tensor(*names)`."""
        return tuple(self.tensor(*names).shape)

    def result_elements(self) -> int:
        """Elements of the first result; of all tensors of a `_foreach_` op."""
        if "::_foreach_" in self.name:
            changed = self.results or list(tensors_in(self.arguments.get("self")))
            return sum(tensor.numel() for tensor in changed)
        return self.results[0].numel() if self.results else self.input_elements()

    def input_elements(self) -> int:
        """Elements of the first tensor among the arguments; of all tensors of a `_foreach_` op."""
        tensors = (tensor for value in self.arguments.values() for tensor in tensors_in(value))
        if "::_foreach_" in self.name:
            return sum(tensor.numel() for tensor in tensors_in(self.arguments.get("self")))
        return next((tensor.numel() for tensor in tensors), 0)

    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments, then the results."""
        return [*tensors_in(list(self.arguments.values())), *self.results]

    def complex_factor(self, products: bool) -> int:
        """Real FLOPs for each one of a formula: a complex multiply-add is 8, a sum of two is 2."""
        if not any(tensor.dtype.is_complex for tensor in self.tensors()):
            return 1
        return 4 if products else 2

    def is_floating(self) -> bool:
        """Whether any tensor of the call holds floating-point or complex numbers."""
        return any(t.dtype.is_floating_point or t.dtype.is_complex for t in self.tensors())


def multiply_adds(*sizes: int) -> int:
    """FLOPs of as many multiply-adds as the product of `sizes`: 2 each."""
    return 2 * math.prod(sizes)
