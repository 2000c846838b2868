"""Runs a backward for its count, and leaves gradients as they were."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves


def roots(result: Any, loss: Callable[[Any], torch.Tensor] | None) -> list[torch.Tensor]:
    """The tensors that the backward starts from: the loss where there is one, else all results.

    A loss is what `loss(result)` gives, or `result.loss` (Hugging Face's models, given labels).
    """
    own = getattr(result, "loss", None)
    if loss is not None:
        result = loss(result)
    elif isinstance(own, torch.Tensor) and own.requires_grad:
        result = own
    leaves = (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
    return [leaf for leaf in leaves if leaf.requires_grad]


def leaf_of(node: Any) -> torch.Tensor | None:
    """The parameter or input that `node` of autograd's graph stores a gradient into, if any."""
    if type(node).__name__ != "AccumulateGrad":
        return None
    leaf: torch.Tensor = node.variable
    return leaf


def leaves_of(starts: list[torch.Tensor]) -> list[torch.Tensor]:
    """The parameters and inputs into which a backward from `starts` stores gradients."""
    found: list[torch.Tensor] = []
    seen: set[Any] = set()
    waiting: list[Any] = [start.grad_fn for start in starts]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = leaf_of(node)
        if leaf is not None:
            found.append(leaf)
        waiting.extend(following for following, _ in node.next_functions)
    return found


class KeptGradients:
    """Within it gradients start absent; afterwards they are what they were before."""

    def __init__(self, leaves: list[torch.Tensor]) -> None:
        self._before = [(leaf, leaf.grad) for leaf in leaves]

    def __enter__(self) -> None:
        for leaf, _ in self._before:
            leaf.grad = None

    def __exit__(self, *_: object) -> None:
        for leaf, gradient in self._before:
            leaf.grad = gradient
