"""Options are declared once: what a declaration refuses, and functions that take a request."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pytest

from topout.errors import InputError
from topout.options import MOST_SEED, Option, Request, fields_of, takes


class Example(Request, frozen=True, kw_only=True):
    """One of each kind."""

    name: Annotated[str, Option("A name.", positional=True)] = "none"
    steps: Annotated[int | None, Option("Steps.", least=1)] = None
    rate: Annotated[float, Option("A rate.", above=0, most=1000.0)] = 0.5
    loss: Annotated[float, Option("A share.", least=0)] = 0.0
    counts: Annotated[list[int] | None, Option("Counts.", flag="--count", least=1, most=8)] = None
    kind: Annotated[Literal["one", "two", "three"] | None, Option("A kind.")] = None
    kinds: Annotated[list[Literal["a", "b"]], Option("Kinds.")] = msgspec.field(
        default_factory=list
    )
    mode: Annotated[str, Option("A mode.", choices=("x", "y"))] = "x"
    seed: Annotated[int, Option("A seed.", least=0, most=MOST_SEED)] = 0
    file: Annotated[Path | None, Option("A file.")] = None
    own: bool = True  # for Python alone


def test_what_fits_its_declaration_is_taken() -> None:
    Example()
    Example(steps=1, rate=1000, loss=0, counts=[1, 8], kind="two", kinds=["b", "a"], mode="y")
    Example(seed=2**63 - 1, steps=np.int64(3), rate=np.float32(0.5))  # type: ignore[arg-type]


def test_one_text_is_a_list_of_one() -> None:
    """As on the command line; its letters are no values."""
    assert Example(kinds="a").kinds == ["a"]  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'ab' is not known"):
        Example(kinds="ab")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 0}, "--steps 0 is out of range. It must be ≥ 1."),
        ({"steps": 1.5}, "--steps 1.5 is not a whole number. It must be ≥ 1."),
        ({"steps": "4"}, "--steps '4' is not a whole number. It must be ≥ 1."),
        ({"steps": True}, "--steps True is not a whole number. It must be ≥ 1."),
        ({"rate": 0.0}, "--rate 0.0 is out of range. It must be > 0 and ≤ 1000."),
        ({"rate": 1000.1}, "--rate 1000.1 is out of range. It must be > 0 and ≤ 1000."),
        ({"rate": float("nan")}, "--rate nan is out of range. It must be > 0 and ≤ 1000."),
        ({"loss": float("inf")}, "--loss inf is out of range. It must be ≥ 0."),
        ({"counts": [1, 9]}, "--count 9 is out of range. It must be 1 to 8."),
        ({"kind": "four"}, "--kind 'four' is not known. Choose one, two or three."),
        ({"kinds": ["a", "c"]}, "--kinds 'c' is not known. Choose a or b."),
        ({"mode": "z"}, "--mode 'z' is not known. Choose x or y."),
        ({"seed": -1}, "--seed -1 is out of range. It must be 0 to 2⁶³ − 1."),
        ({"seed": 2**63}, f"--seed {2**63} is out of range. It must be 0 to 2⁶³ − 1."),
    ],
)
def test_what_does_not_is_refused_with_option_and_remedy(
    values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError) as refused:
        Example(**values)
    assert str(refused.value) == sentence
    with pytest.raises(InputError):
        msgspec.structs.replace(Example(), **values)


def test_declarations_are_read_in_order_and_fields_without_one_are_no_options() -> None:
    fields = {field.name: field for field in fields_of(Example)}
    assert list(fields) == [name for name in Example.__struct_fields__ if name != "own"]
    assert fields["counts"].flag == "--count" and fields["counts"].many
    assert fields["steps"].type is int and fields["file"].type is Path
    assert fields["kind"].choices == ("one", "two", "three")
    assert fields["name"].metavar == "NAME" and fields["name"].stated("x") == "'x'"


@takes(Example)
def answer(request: Example, extra: int = 0, *, notify: str = "") -> tuple[Example, int, str]:
    """A verb."""
    return request, extra, notify


def test_a_function_takes_a_request_or_its_fields() -> None:
    wanted = Example(name="n", steps=2, own=False)
    assert answer(wanted, 3, notify="x") == (wanted, 3, "x")
    assert answer("n", 2, own=False) == (wanted, 0, "")
    assert answer(name="n", steps=2, own=False, extra=3) == (wanted, 3, "")
    with pytest.raises(TypeError):
        answer(stepz=2)
    with pytest.raises(InputError, match="--steps 0"):
        answer("n", steps=0)
