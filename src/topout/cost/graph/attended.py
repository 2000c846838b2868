"""How many pairs of query and key a mask of transformers leaves, read from the mask's function.

Such a function says of one pair whether it is left; those of transformers leave of each query an
interval of keys. It is told by the function's own name and what it holds, so that no mask of
queries × keys is made.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Interval = tuple[Any, Any]  # first and last key of each query

_EVERYTHING = 1 << 62


def masked_pairs(
    mask_function: Callable[..., Any], queries: int, keys: int, first_query: int, first_key: int
) -> int | None:
    """Pairs that are left of `queries` × `keys`, whose positions begin where it says.

    None for a function that is not known.
    """
    positions = first_query + np.arange(queries, dtype=np.int64)
    found = _interval(mask_function, positions)
    if found is None:
        return None
    first = np.maximum(found[0], first_key)
    last = np.minimum(found[1], first_key + keys - 1)
    left = np.broadcast_to(np.maximum(last - first + 1, 0), positions.shape)
    return int(left.sum())


def window_pairs(queries: int, keys: int, window: int | None) -> int:
    """Pairs of a causal mask aligned with the last key; a token sees `window` with itself."""
    positions = keys - queries + np.arange(queries, dtype=np.int64)
    seen = positions + 1 if window is None else np.minimum(positions + 1, window)
    return int(np.maximum(seen, 0).sum())


def _interval(function: Callable[..., Any], positions: Any) -> Interval | None:
    name = function.__qualname__.partition(".")[0]
    held = _held(function)
    if name == "and_masks":
        return _intersection(held["mask_functions"], positions)
    if name == "or_masks":  # text alone: what is added to the first is for images
        return _interval(held["mask_functions"][0], positions)
    if name == "causal_mask_function":
        return 0, positions
    if name == "bidirectional_mask_function":
        return 0, _EVERYTHING
    if name == "sliding_window_overlay":
        return positions - held["sliding_window"] + 1, _EVERYTHING
    if name == "sliding_window_bidirectional_overlay":
        return positions - held["sliding_window"], positions + held["sliding_window"]
    if name == "chunked_overlay":
        first = positions // held["chunk_size"] * held["chunk_size"]
        return first, first + held["chunk_size"] - 1
    return None


def _intersection(functions: tuple[Callable[..., Any], ...], positions: Any) -> Interval | None:
    found = [_interval(each, positions) for each in functions]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    first, last = known[0]
    for other_first, other_last in known[1:]:
        first, last = np.maximum(first, other_first), np.minimum(last, other_last)
    return first, last


def _held(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function closes over, by name."""
    return dict(_cells(function))


def _cells(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    closure = getattr(function, "__closure__", None) or ()
    for name, cell in zip(function.__code__.co_freevars, closure, strict=True):
        yield name, cell.cell_contents
