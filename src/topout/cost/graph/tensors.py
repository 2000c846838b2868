"""How many bytes a tensor occupies, whatever its shape claims."""

from collections.abc import Iterable
from typing import Any

import torch


def stored_elements(tensor: torch.Tensor) -> int:
    """Elements in memory: an expanded dimension counts once, overlapping windows as their span."""
    elements = 1
    span = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if size == 0:
            return 0
        if stride != 0:
            elements *= size
            span += (size - 1) * stride
    return min(elements, span)


def stored_bytes(tensor: torch.Tensor) -> int:
    """Bytes in memory of the elements that `tensor` shows."""
    return stored_elements(tensor) * tensor.element_size()


def rows_bytes(table: torch.Tensor, rows: int) -> int:
    """Bytes of `rows` entries along the first dimension of `table`."""
    per_row = 1
    for size in table.shape[1:]:
        per_row *= size
    return rows * per_row * table.element_size()


def tensors_in(value: Any) -> Iterable[torch.Tensor]:
    """The tensors of an op's argument or result: itself, or those of a list or a dict of them."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
