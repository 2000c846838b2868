"""Listens to PyTorch's dispatcher: each op that runs is planned, run and counted.

A plan says whether an op is taken apart, passed or counted, and how.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from topout.cost.graph.elementwise import ELEMENTWISE, FREE, RESERVES
from topout.cost.graph.formula import (
    BUILT_IN,
    Call,
    Formula,
    OpWork,
    op_name,
    packet_name,
    registered_formula,
    stored_bytes,
    tensors_in,
)
from topout.cost.graph.places import Place, Places, Traffic
from topout.cost.graph.tally import RowKey, Sums, Tally
from topout.records.count import CountPhase, OpFamily

# Namespaces of ops that only inspect or mark.
_MARKERS = ("prim::", "profiler::")

# Ops that need the numbers in a tensor, or whose result's shape does.
_NEEDS_VALUES = frozenset({"aten::_local_scalar_dense", "aten::nonzero", "aten::equal"})
_NO_FORMULA = "no formula is known for it; register one with register_formula"
_OPAQUE = "what runs inside of a higher-order operator is not seen"
_SPARSE = "its formula is that of dense tensors, and one of its tensors is sparse"
_OUT_OF_SIGHT = "outside of the dispatcher"
_FILLED = "memory was filled by code that PyTorch's dispatcher does not see"


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


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts into `tally` while it is entered."""

    supports_higher_order_operators = True

    def __init__(self, places: Places, traffic: Traffic) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tally = Tally()
        self.listening = True
        self.failed: tuple[BaseException, str, bool] | None = None  # op; needs its tensors' values
        self._places = places
        self._traffic = traffic
        self._plans: dict[Any, Plan] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if not self.listening:
            return func(*args, **kwargs)
        if any(_runs_by_its_parts(tensor_type) for tensor_type in types):
            return NotImplemented  # the parts come here
        plan = self._plans.get(func)
        if plan is None:
            plan = self._plans[func] = plan_of(func)
        if plan.name == "higher_order::cond":
            return self._branch(*args, **kwargs)
        if plan.decomposes:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = self._run(plan, func, args, kwargs)
        if plan.free:
            if plan.reserves:
                self._traffic.make(tensors_in(result), unwritten=True)
        else:
            self._count(plan, func, plan.bind(args, kwargs), result)
        return result

    def _run(
        self,
        plan: Plan,
        func: OpOverload | HigherOrderOperator,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        run = stand_in(plan.name, args) or func
        try:
            return run(*args, **kwargs)
        except Exception as error:
            self.failed = (error, plan.name, plan.needs_values)
            raise

    def _branch(self, condition: Any, if_true: Any, if_false: Any, operands: Any = ()) -> Any:
        """torch.cond: the branch that is taken, counted op by op."""
        try:
            taken = if_true if bool(condition) else if_false
        except Exception as error:
            self.failed = (error, "higher_order::cond", True)
            raise
        with self:
            return taken(*operands)

    def _count(self, plan: Plan, func: Any, arguments: dict[str, Any], result: Any) -> None:
        call = Call(plan.name, arguments, result, in_place="self" in plan.changed)
        place, phase = self._places.place()
        family, work, reason = evaluate(plan, call, isinstance(func, HigherOrderOperator))
        causal_flops = work.flops if work.causal_flops is None else work.causal_flops
        if place.attention is not None and work.causal_flops is None and work.flops:
            family = "attention"
            causal_flops = work.flops // place.attention.scores * place.attention.pairs
        figures = Sums(1, work.flops, causal_flops, work.other_flops)
        in_forward = phase == "forward"
        figures.read_bytes = self._reads(plan, call, work, place, phase)
        figures.written_bytes = self._writes(plan, call, work, result, in_forward)
        self.tally.add(_row_key(call, place, phase, family, reason), figures)

    def _reads(self, plan: Plan, call: Call, work: OpWork, place: Place, phase: CountPhase) -> int:
        """Bytes that the call reads; the same tensor given twice is read once."""
        total = 0
        seen: set[int] = set()
        for name, value in call.arguments.items():
            if name in plan.ignored:
                continue
            for tensor in tensors_in(value):
                if id(tensor) in seen:
                    continue
                seen.add(id(tensor))
                moved = work.read_bytes.get(name)
                moved = bytes_of(tensor) if moved is None else moved
                total += moved
                if self._traffic.read(tensor, moved, phase == "forward"):
                    self._note_out_of_sight(tensor, place, phase)
        return total

    def _writes(self, plan: Plan, call: Call, work: OpWork, result: Any, in_forward: bool) -> int:
        """Bytes that the call writes: to new results, and to the arguments that it changes."""
        total = 0
        for name in plan.changed:
            for tensor in tensors_in(call.arguments.get(name)):
                moved = work.written_bytes.get(name)
                moved = bytes_of(tensor) if moved is None else moved
                total += moved
                self._traffic.change(tensor, moved, in_forward)
        new = new_tensors(plan, result)
        self._traffic.make(new, unwritten=False)
        return total + sum(bytes_of(tensor) for tensor in new)

    def _note_out_of_sight(self, tensor: torch.Tensor, place: Place, phase: CountPhase) -> None:
        shape = tuple(tensor.shape)
        dtype = str(tensor.dtype).removeprefix("torch.")
        key = RowKey(place.path, phase, _OUT_OF_SIGHT, "unknown", (), (shape,), dtype, _FILLED)
        self.tally.add(key, Sums(calls=1, written_bytes=bytes_of(tensor)))


def evaluate(plan: Plan, call: Call, opaque: bool) -> tuple[OpFamily, OpWork, str | None]:
    """The call's family and work, or why it is not counted."""
    if plan.formula is None:
        return "unknown", OpWork(), _OPAQUE if opaque else _NO_FORMULA
    if plan.formula.family != "custom" and any(_is_sparse(tensor) for tensor in call.tensors()):
        return "unknown", OpWork(), _SPARSE
    try:
        return plan.formula.family, plan.formula.work(call), None
    except Exception as error:  # a formula that does not fit the call must not end the run
        return "unknown", OpWork(), f"its formula failed: {type(error).__name__}: {error}"


def _row_key(
    call: Call, place: Place, phase: CountPhase, family: OpFamily, reason: str | None
) -> RowKey:
    inputs = tuple(
        tuple(tensor.shape) for value in call.arguments.values() for tensor in tensors_in(value)
    )
    outputs = tuple(tuple(tensor.shape) for tensor in call.results)
    first = call.results[0] if call.results else next(iter(call.tensors()), None)
    dtype = "" if first is None else str(first.dtype).removeprefix("torch.")
    return RowKey(place.path, phase, call.name, family, inputs, outputs, dtype, reason)


def new_tensors(plan: Plan, result: Any) -> list[torch.Tensor]:
    """The results that are none of the arguments."""
    if len(plan.fresh) == 1:
        return list(tensors_in(result)) if plan.fresh[0] else []
    return [
        tensor
        for part, fresh in zip(result or (), plan.fresh, strict=False)
        if fresh
        for tensor in tensors_in(part)
    ]


def bytes_of(tensor: torch.Tensor) -> int:
    """Bytes that `tensor` occupies; of a sparse one, its numbers and their places."""
    if tensor.layout is torch.strided:
        return stored_bytes(tensor)
    if tensor.layout is torch.sparse_coo:
        return sum(stored_bytes(part) for part in (tensor._indices(), tensor._values()))
    if _is_compressed(tensor):
        return stored_bytes(tensor.values())
    return tensor.numel() * tensor.element_size()


def _is_sparse(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.sparse_coo or _is_compressed(tensor)


def _is_compressed(tensor: torch.Tensor) -> bool:
    return tensor.layout in (
        torch.sparse_csr,
        torch.sparse_csc,
        torch.sparse_bsr,
        torch.sparse_bsc,
    )


def _runs_by_its_parts(tensor_type: type) -> bool:
    """Whether a subclass of Tensor turns each op into ops on the plain tensors that it holds.

    Fake tensors do not: they stand for plain ones.
    """
    dispatch = getattr(tensor_type, "__torch_dispatch__", None)
    plain = torch._C._disabled_torch_dispatch_impl
    return dispatch is not plain and tensor_type.__name__ != "FakeTensor"


def _grouped_product(
    left: torch.Tensor, right: torch.Tensor, offs: torch.Tensor | None = None, *_: Any, **__: Any
) -> torch.Tensor:
    """`_grouped_mm`: on meta PyTorch takes bf16 alone, on a CPU fp32 too."""
    shape = [left.shape[-2], right.shape[-1]]
    if left.dim() == right.dim() == 3:
        shape.insert(0, left.shape[0])
    elif left.dim() == right.dim() == 2 and offs is not None:  # groups of the inner dimension
        shape.insert(0, offs.shape[0])
    return left.new_empty(shape)


# Ops whose meta kernel refuses what the real kernels take: on meta only the shape matters.
_STAND_INS: dict[str, Callable[..., torch.Tensor]] = {"aten::_grouped_mm": _grouped_product}


def stand_in(name: str, args: tuple[Any, ...]) -> Callable[..., torch.Tensor] | None:
    """What runs in the place of op `name` on meta tensors; None: the op itself."""
    if name not in _STAND_INS or not args or args[0].device.type != "meta":
        return None
    return _STAND_INS[name]
