"""Any valid cost report, built from the types of the records alone."""

import types
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st

from topout.records import CostReport

_SIZES = st.integers(min_value=0, max_value=10**15)
_FIGURES = st.sampled_from([0.0, 1.0, 1e-12]) | st.floats(min_value=0.0, max_value=1e18)
_TEXTS = st.sampled_from(
    ["", "a100-80gb", "[red]x[/red]", "<b>&'\"", "名前", "a\nb", "9"]
) | st.text(max_size=24)


def cost_reports() -> st.SearchStrategy[CostReport]:
    """Reports with every field drawn: dashes, zeros, odd names, any machine beside any other."""
    return of_type(CostReport)


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a record's field."""
    plain = {int: _SIZES, float: _FIGURES, str: _TEXTS, bool: st.booleans()}
    if kind in plain:
        return plain[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(
            *(st.none() if part is type(None) else of_type(part) for part in arguments)
        )
    if origin is list:
        return st.lists(of_type(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(of_type(arguments[0]), of_type(arguments[1]), max_size=2)
    assert issubclass(kind, msgspec.Struct), kind
    return st.deferred(lambda: _records(kind))


def _records(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    # What an own machine carries of its measurements is not shown here, and large.
    left_out = {"ceilings", "rates", "schema_version"}
    fields = {name: of_type(hints[name]) for name in kind.__struct_fields__ if name not in left_out}
    return st.builds(kind, **fields)
