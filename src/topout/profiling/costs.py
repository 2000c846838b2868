"""What each operator of a trace has to do, from a counting run over the same shapes.

A count knows operators by name and the shapes of their inputs, as a trace does; where both agree,
the trace's call has the count's work.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from topout.records import Count, CountedOp, OpFamily

Shapes = tuple[tuple[int, ...], ...]
_NEVER_COUNTED = "it did not run, or not on these shapes, in the counting run"


class OperatorKey(NamedTuple):
    """An operator and the shapes of its inputs, those without a dimension left out.

    A trace shows a number and a tensor without dimensions alike.
    """

    name: str
    shapes: Shapes


class CallWork(msgspec.Struct, frozen=True):
    """The work of one call: the mean over the calls that were counted."""

    family: OpFamily
    flops: float  # products and elementwise work
    bytes: float


class Costs(msgspec.Struct, frozen=True):
    """The work by operator and shapes; what is free; why something has none."""

    work: dict[OperatorKey, CallWork]
    free: frozenset[str]  # names of operators that compute and move nothing, or only call others
    reasons: dict[str, str]  # by name

    def of(self, key: OperatorKey) -> CallWork | None:
        """The work of one call; None where it is not known.

        PyTorch may choose another form of an operator while it is counted, which has the same
        work: an elementwise one out of place instead of in place, a product of two matrices for
        a batch of one.
        """
        found = self.work.get(key)
        if found is not None:
            return found
        if key.name == "aten::bmm" and all(shape[0] == 1 for shape in key.shapes):
            single = tuple(shape[1:] for shape in key.shapes)
            return self.work.get(OperatorKey("aten::mm", single))
        is_in_place = key.name.endswith("_")
        other = key.name.removesuffix("_") if is_in_place else f"{key.name}_"
        found = self.work.get(key._replace(name=other))
        return found if found is not None and found.family == "elementwise" else None


def costs_of(counts: Sequence[Count], names: Sequence[str]) -> Costs:
    """The costs from counting runs; `names` are those of the trace, of which some are free."""
    rows = [row for count in counts for row in count.rows if row.family != "unknown"]
    sums: dict[OperatorKey, list[CountedOp]] = {}
    for row in rows:
        key = OperatorKey(row.name, without_scalars(row.inputs))
        sums.setdefault(key, []).append(row)
    reasons = {left.name: left.reason for count in counts for left in count.not_counted}
    work = {key: _mean(found) for key, found in sums.items()}
    return Costs(work, frozenset(name for name in names if is_free(name)), reasons)


def _mean(rows: list[CountedOp]) -> CallWork:
    calls = sum(row.work.calls for row in rows)
    flops = sum(row.work.flops + row.work.other_flops for row in rows)
    moved = sum(row.work.bytes for row in rows)
    return CallWork(rows[0].family, flops / calls, moved / calls)


def without_scalars(shapes: Sequence[Sequence[int]]) -> Shapes:
    """Shapes with at least one dimension."""
    return tuple(tuple(shape) for shape in shapes if shape)


def shapes_of(text: str | None) -> Shapes:
    """The shapes of a trace's operator from their JSON, with lists of tensors spread out.

    Whatever is no list of sizes is passed over: a trace may say anything.
    """
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(_flat(found)) if isinstance(found, list) else ()


def _flat(value: list[object]) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    for part in value:
        if not isinstance(part, list) or not part:
            continue
        sizes = [each for each in part if type(each) is int]
        if len(sizes) == len(part):
            shapes.append(tuple(sizes))
        else:
            shapes += _flat(part)
    return shapes


def is_free(name: str) -> bool:
    """Whether PyTorch's operator `name` neither computes nor moves anything by itself."""
    import torch

    namespace, _, short = name.partition("::")
    if not short or namespace in ("autograd", "torch"):
        return True  # a node of autograd's graph: what it does is done by operators
    try:
        packet = getattr(getattr(torch.ops, namespace), short)
        return any(_is_free_overload(getattr(packet, each)) for each in packet.overloads())
    except (AttributeError, RuntimeError):
        return False


def _is_free_overload(overload: Any) -> bool:
    from topout.cost.graph.plan import plan_of

    try:
        plan = plan_of(overload)
    except (AttributeError, RuntimeError):  # one of TorchScript alone, which no tensor reaches
        return False
    return plan.free or plan.decomposes


def why_uncounted(costs: Costs, name: str) -> str:
    """Why an operator has no work."""
    return costs.reasons.get(name, _NEVER_COUNTED)
