"""Which formula counts which op: the built-in ones, and those that a user registers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from topout.cost.graph.call import Call, OpWork
from topout.errors import InputError
from topout.records.count import OpFamily

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
            f"{op!r} is no op.", 'Give torch.ops.NAMESPACE.NAME or its name as "NAMESPACE::NAME".'
        )
    if "::" not in name:
        raise InputError(f"{name!r} names no op.", 'Write it as "NAMESPACE::NAME".')
    return name


def _as_work(answer: OpWork | int) -> OpWork:
    return answer if isinstance(answer, OpWork) else OpWork(flops=int(answer))
