"""One call of an op, what a formula answers of it, and which formula counts which op."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from topout.errors import InputError
from topout.records.count import OpFamily


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
    return rows * math.prod(table.shape[1:]) * table.element_size()


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


FormulaFunction = Callable[[Call], OpWork]


@dataclass(frozen=True, slots=True)
class Formula:
    """How one op is counted, and the family that its work is reported under."""

    family: OpFamily
    work: FormulaFunction


BUILT_IN: dict[str, Formula] = {}
_REGISTERED: dict[str, Formula] = {}


def aten_names(names: str | Iterable[str]) -> list[str]:
    """Full names of ops given by name, as words of a text or one by one; aten's need no prefix."""
    words = names.split() if isinstance(names, str) else names
    return [word if "::" in word else f"aten::{word}" for word in words]


def formulas_of(family: OpFamily, names: str | Iterable[str], work: FormulaFunction) -> None:
    """Count the ops `names` (without the trailing underscore of in-place forms) by `work`."""
    for full in aten_names(names):
        assert full not in BUILT_IN, f"two formulas for {full}"
        BUILT_IN[full] = Formula(family, work)


def register_formula(op: Any, function: Callable[[Call], OpWork | int]) -> None:
    """Count `op` by `function` from now on, in place of the built-in formula if there is one.

    `op` is a name ("mylib::scan"), an op of `torch.ops`, what `torch.library.custom_op` made, or
    a higher-order operator. `function` takes a `Call` and returns FLOPs or an `OpWork`.
    Raises InputError for anything that names no op.
    """
    _REGISTERED[op_name(op)] = Formula("custom", lambda call: _as_work(function(call)))


def forget_formula(op: Any) -> None:
    """Undo `register_formula`; InputError where nothing was registered for `op`."""
    name = op_name(op)
    if name not in _REGISTERED:
        raise InputError(f"no formula is registered for {name}.", "Register one first.")
    del _REGISTERED[name]


def registered_formula(full_name: str) -> Formula | None:
    """The user's formula for "aten::mm.out": for this overload, else for all of the op."""
    return _REGISTERED.get(full_name) or _REGISTERED.get(packet_name(full_name))


def packet_name(full_name: str) -> str:
    """ "aten::mm.out" → "aten::mm"."""
    namespace, _, name = full_name.rpartition("::")
    return f"{namespace}::{name.partition('.')[0]}"


def op_name(op: Any) -> str:
    """ "namespace::name" of whatever denotes an op. Raises InputError where it denotes none."""
    if isinstance(op, str):
        name = op
    elif hasattr(op, "_qualname") and not hasattr(op, "overloads"):  # torch.library.custom_op
        name = op._qualname
    elif hasattr(op, "overloads"):  # torch.ops.aten.mm
        name = op._qualified_op_name
    elif callable(getattr(op, "name", None)):  # an overload, or a higher-order operator
        name = op.name() if "::" in op.name() else f"higher_order::{op.name()}"
    else:
        raise InputError(
            f"{op!r} is not an op.",
            'Give torch.ops.NAMESPACE.NAME or its name as "NAMESPACE::NAME".',
        )
    if "::" not in name:
        raise InputError(f"{name!r} does not name an op.", 'Write it as "NAMESPACE::NAME".')
    return name


def _as_work(answer: OpWork | int) -> OpWork:
    return answer if isinstance(answer, OpWork) else OpWork(flops=int(answer))
