"""The tensors inside whatever a module takes or gives: tuples, dicts, dataclasses, nested."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def named_tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Each tensor in `value` once, with the path to it: "hidden", "states[0]", "out.logits".

    Looks into tuples, lists, mappings and dataclasses; other objects are not opened.
    """
    seen: set[int] = set()
    yield from _walk(value, name, seen)


def _walk(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if id(value) in seen:
        return
    if isinstance(value, Tensor):
        seen.add(id(value))
        yield name, value
    elif isinstance(value, Mapping):
        seen.add(id(value))
        for key, part in value.items():
            yield from _walk(part, f"{name}.{key}" if name else str(key), seen)
    elif isinstance(value, (tuple, list)):
        seen.add(id(value))
        for index, part in enumerate(value):
            yield from _walk(part, f"{name}[{index}]", seen)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        seen.add(id(value))
        for field in dataclasses.fields(value):
            part = getattr(value, field.name, None)
            yield from _walk(part, f"{name}.{field.name}" if name else field.name, seen)


def tensors_in(value: Any) -> list[Tensor]:
    """Each tensor in `value` once."""
    return [tensor for _, tensor in named_tensors(value, "")]


def storage_key(tensor: Tensor) -> int | None:
    """The same for all views of one memory; None for tensors without one, such as sparse ones.

    Meta tensors have a storage each though they hold no bytes.
    """
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None
