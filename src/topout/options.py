"""How options are declared: beside the fields of a request, for the command line and Python alike.

    class RunRequest(Request, frozen=True, kw_only=True):
        prompt_len: Annotated[int | None, Option("Tokens of the prompt.", least=1)] = None

`topout.cli` derives a command from such a class. To make a request is to check each value against
its own declaration; what depends on several fields is checked by the request that knows them.
"""

import functools
import math
import numbers
from collections.abc import Callable
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Concatenate,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import msgspec

from topout.errors import InputError

Device = Literal["cpu", "cuda"]
MOST_SEED = 2**63 - 1
MOST_WHOLE = 2**31 - 1  # of a whole number whose option states no bound: no count is larger

P = ParamSpec("P")
R = TypeVar("R")


class Option(NamedTuple):
    """What is declared of a field beside its type and default.

    Bounds, of numbers, and choices, where the type is no Literal, hold for each value of a list.
    """

    help: str
    flag: str = ""  # default: the field's name
    metavar: str = ""  # what stands for a value in help; default: by the type
    positional: bool = False
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    short: str = ""  # a letter that stands for the flag: "-v"
    commas: bool = True  # in a list: commas part values, beside giving the option again
    writes: bool = False  # a file that is written: not read, and not named by another option


class Field(NamedTuple):
    """A field of a request that is an option."""

    name: str
    option: Option
    type: Any  # of one value: bool, int, float, str or Path
    many: bool  # a list of them
    choices: tuple[str, ...]
    default: Any  # msgspec.NODEFAULT where it must be given

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def metavar(self) -> str:
        """What stands for a value in help."""
        by_type = {int: "N", float: "X", str: "TEXT"}.get(self.type, "FILE")
        default = self.name.upper() if self.option.positional else by_type
        return self.option.metavar or "|".join(self.choices) or default

    def stated(self, value: object) -> str:
        """The value as a sentence names it: "--steps 0", and an argument alone."""
        shown = repr(value) if isinstance(value, str) else str(value)
        return shown if self.option.positional else f"{self.flag} {shown}"

    def check(self, value: Any) -> None:
        """Raise InputError for a value of another type, out of range, or that is no choice."""
        if self.choices:
            if value not in self.choices:
                raise InputError(f"{self.stated(value)} is not known.", self._remedy())
        elif self.type in (int, float):
            kind = numbers.Integral if self.type is int else numbers.Real
            if not isinstance(value, kind) or isinstance(value, bool):
                raise self.no_number(value)
            if self._is_beyond(value):
                most = f"It must be ≤ {_figure(MOST_WHOLE)}."
                raise InputError(f"{self.stated(value)} is out of range.", most)
            if not (_is_finite(value) and self._in_range(value)):
                raise InputError(f"{self.stated(value)} is out of range.", self._remedy())

    def no_number(self, value: object) -> InputError:
        """The error for a value, such as a text, that is no number of the type."""
        kind = "a whole number" if self.type is int else "a number"
        return InputError(f"{self.stated(value)} is not {kind}.", self._remedy())

    def _is_beyond(self, value: Any) -> bool:
        is_unbounded = self.type is int and self.option.most is None
        return is_unbounded and bool(value > MOST_WHOLE)

    def _in_range(self, value: Any) -> bool:
        least, above, most = self.option.least, self.option.above, self.option.most
        return (
            (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
        )

    def _remedy(self) -> str:
        least, above, most = self.option.least, self.option.above, self.option.most
        if self.choices:
            *others, last = self.choices
            return f"Choose {', '.join(others)} or {last}." if others else f"Choose {last}."
        if least is not None and most is not None:
            return f"It must be {_figure(least)} to {_figure(most)}."
        bounds = [("≥", least), (">", above), ("≤", most)]
        stated = [f"{sign} {_figure(bound)}" for sign, bound in bounds if bound is not None]
        return f"It must be {' and '.join(stated)}." if stated else "Give a number."


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what verbs are asked: its fields are their options, checked when one is made."""

    def __post_init__(self) -> None:
        """Raise InputError that names the first option whose value does not fit its declaration."""
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if field.many and isinstance(value, str):  # one of a list, from Python
                value = [value]
                msgspec.structs.force_setattr(self, field.name, value)
            for each in value or () if field.many else (value,):
                if each is not None:
                    field.check(each)


Q = TypeVar("Q", bound=Request)


@functools.cache
def fields_of(request_type: type[Request]) -> tuple[Field, ...]:
    """The fields of a request that are options, in the order of their declaration."""
    found = []
    for each in msgspec.structs.fields(request_type):
        option = next((note for note in _notes(each.type) if isinstance(note, Option)), None)
        if option is None:
            continue
        kind = _first(get_args(each.type)[0])
        many = get_origin(kind) is list
        kind = _first(get_args(kind)[0]) if many else kind
        is_literal = get_origin(kind) is Literal
        choices = get_args(kind) if is_literal else option.choices
        default = each.default
        if each.default_factory is not msgspec.NODEFAULT:
            default = each.default_factory()
        found.append(Field(each.name, option, str if is_literal else kind, many, choices, default))
    return tuple(found)


def takes(request_type: type[Q]) -> Callable[[Callable[Concatenate[Q, P], R]], Callable[..., R]]:
    """Let a function of a request be called with the request's fields too: `f("gpt2", depth=1)`."""
    positional = [field.name for field in fields_of(request_type) if field.option.positional]
    names = list(dict.fromkeys([*positional, *request_type.__struct_fields__]))

    def decorate(function: Callable[Concatenate[Q, P], R]) -> Callable[..., R]:
        @functools.wraps(function)
        def call(*values: Any, **named: Any) -> R:
            if values and isinstance(values[0], request_type):
                return function(*values, **named)
            of_request = dict(zip(names, values, strict=False))
            of_request |= {name: named.pop(name) for name in names if name in named}
            request: Any = request_type(**of_request)
            return function(request, *values[len(names) :], **named)

        return call

    return decorate


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _notes(kind: Any) -> tuple[Any, ...]:
    """What is annotated to a type, the last first: a field may refine what it was given."""
    return get_args(kind)[:0:-1] if get_origin(kind) is Annotated else ()


def _first(kind: Any) -> Any:
    """The type itself, or the first of a union that is not None."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return next(each for each in get_args(kind) if each is not NoneType)


def _figure(value: float) -> str:
    """7 → "7", 2**63 - 1 → "2⁶³ − 1"."""
    power = int(value + 1).bit_length() - 1
    if isinstance(value, int) and power > 20 and value + 1 == 1 << power:
        return f"2{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))} − 1"
    return str(value) if isinstance(value, int) else f"{value:g}"
