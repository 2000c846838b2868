"""Kernels of a run and what they hold: what `fusion` makes of calls, and others read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from topout.cost.graph.calls import Use


@dataclass(frozen=True, slots=True)
class Memory:
    """Addresses of what is no activation: parameters, and the cache after the run."""

    weights: frozenset[int]
    names: Mapping[int, list[str]]  # of parameters
    experts: Mapping[int, tuple[int, int]]  # parameter → experts it holds, and chosen of a token
    cache: Mapping[int, int]  # address → bytes of an element


class Kernel(msgspec.Struct, kw_only=True):
    """One kernel of a run, for one layer; `times` layers run it alike. Sizes are in bytes."""

    path: str
    part: str
    kind: str  # "linear", "attention", "convolution", "elementwise", "embedding"
    times: int
    attended: tuple[float, ...] = ()  # batch, heads, queries, keys, size of a head
    rows: float = 0.0
    k: int = 0
    n: int = 0
    paths: list[str] = []  # of products that are one
    experts: tuple[int, int] | None = None
    flops: float = 0.0
    weight_bytes: float = 0.0
    activation_bytes: float = 0.0
    cache_bytes: float = 0.0
    states_bytes: float = 0.0  # of a cache whose numbers are not of the model's type
    first: int = 0  # numbers of its calls in the log
    last: int = 0


@dataclass(slots=True)
class Kept:
    """What the backward pass needs of a forward, in bytes, by the layer that made it."""

    by_layer: dict[str, float] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)  # of layers that stand for others
    statistics: float = 0.0  # of attention: numbers, of all layers
    logits: float = 0.0  # numbers that a loss is taken of


@dataclass(slots=True)
class Fused:
    """The kernels of a run in their order, and what they hold."""

    kernels: list[Kernel]
    working_bytes: float  # activations at the fullest moment
    kept: Kept


def bytes_of_parts(parts: Iterable[Use]) -> int:
    """Of one piece of memory what different views of it show, at most all of it."""
    distinct: dict[tuple[int, tuple[int, ...]], int] = {}
    for use in parts:
        view = (use.offset, use.shape)
        distinct[view] = max(distinct.get(view, 0), use.bytes)
    return min(sum(distinct.values()), max(use.storage_bytes for use in parts))
