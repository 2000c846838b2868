"""What to do with an op when it comes: take it apart, pass it, or count it, and how."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload

from topout.cost.graph.elementwise import ELEMENTWISE
from topout.cost.graph.formula import (
    BUILT_IN,
    Formula,
    op_name,
    packet_name,
    registered_formula,
)
from topout.cost.graph.movement import FREE, RESERVES

# Namespaces of ops that only inspect or mark.
_MARKERS = ("prim::", "profiler::")

# Ops that need the numbers in a tensor, or whose result's shape does.
_NEEDS_VALUES = frozenset({"aten::_local_scalar_dense", "aten::nonzero", "aten::equal"})


@dataclass(frozen=True, slots=True)
class Plan:
    """How the calls of one op are treated."""

    name: str  # "aten::mm"
    arguments: tuple[str, ...]  # names, in the order of the schema
    formula: Formula | None  # None: free, or unknown
    free: bool = False
    decomposes: bool = False  # what it is made of comes back op by op
    reserves: bool = False  # makes memory that nothing was written to
    changed: frozenset[str] = frozenset()  # arguments that are written to
    ignored: frozenset[str] = frozenset()  # of these, those whose content is not read
    fresh: tuple[bool, ...] = ()  # for each result: it is none of the arguments
    needs_values: bool = False

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name; those left at their default are absent."""
        bound = dict(zip(self.arguments, args, strict=False))
        bound.update(kwargs)
        return bound


def plan_of(op: OpOverload | HigherOrderOperator) -> Plan:
    """The plan for `op`: a user's formula first, then its parts, then the built-in formulas."""
    if isinstance(op, HigherOrderOperator):
        return _higher_order_plan(op)
    full_name = str(op.name())  # type: ignore[no-untyped-call]
    name = packet_name(full_name)
    schema = op._schema
    changed = frozenset(a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write)
    needs_values = name in _NEEDS_VALUES or bool(
        {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(op.tags)
    )
    formula = registered_formula(full_name)
    built_in = _built_in(name)
    marks = name.startswith(_MARKERS) or _functional(name) in FREE
    composite = not marks and _is_composite(full_name)
    views = op.is_view or torch.Tag.inplace_view in op.tags
    free = formula is None and (marks or (views and not composite and built_in is None))
    return Plan(
        name=name,
        arguments=tuple(argument.name for argument in schema.arguments),
        formula=formula or (None if free else built_in or _by_tag(op)),
        free=free,
        decomposes=formula is None and composite,
        reserves=_functional(name) in RESERVES,
        changed=changed,
        ignored=changed & frozenset(a.name for a in schema.arguments if a.is_out),
        fresh=tuple(result.alias_info is None for result in schema.returns),
        needs_values=needs_values,
    )


def _higher_order_plan(op: HigherOrderOperator) -> Plan:
    name = op_name(op)
    parameters = list(inspect.signature(type(op).__call__).parameters.values())[1:]
    named = (p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)
    formula = registered_formula(name) or BUILT_IN.get(name)
    return Plan(name=name, arguments=tuple(named), formula=formula, fresh=(True,))


def _built_in(name: str) -> Formula | None:
    """The built-in formula; those of in-place and `_foreach_` forms are those of the plain op."""
    functional = _functional(name)
    plain = functional.replace("::_foreach_", "::")
    return BUILT_IN.get(name) or BUILT_IN.get(functional) or BUILT_IN.get(plain)


def _functional(name: str) -> str:
    """ "aten::add_" → "aten::add"."""
    return name if name.endswith("__") else name.removesuffix("_")


def _by_tag(op: OpOverload) -> Formula | None:
    """Elementwise ops by PyTorch's own mark; copies of views move bytes like `clone`."""
    if torch.Tag.pointwise in op.tags:
        return ELEMENTWISE
    if torch.Tag.view_copy in op.tags:
        return BUILT_IN["aten::clone"]
    name = str(op.name())  # type: ignore[no-untyped-call]
    if "::_foreach_" in name:
        plain = _functional(packet_name(name)).replace("aten::_foreach_", "")
        packet = getattr(torch.ops.aten, plain, None)
        overloads = packet.overloads() if packet is not None else []
        if any(torch.Tag.pointwise in getattr(packet, o).tags for o in overloads):
            return ELEMENTWISE
    return None


def _is_composite(full_name: str) -> bool:
    """Whether PyTorch knows the op only as a sequence of others (seen in inference mode)."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return bool(has_kernel(full_name, "CompositeImplicitAutograd"))
