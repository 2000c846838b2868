"""How a stack is put together from the rungs' requirements."""

import pytest

from topout.errors import InputError, UnknownNameError
from topout.ladder.stack import Stack, label_of
from topout.rungs.bf16 import Bf16
from topout.rungs.compile import Compile
from topout.rungs.generate_gemv import GenerateGemv
from topout.rungs.quantize_weights_int8 import QuantizeWeightsInt8
from topout.rungs.registry import find_rung, let_in
from topout.rungs.rung import Rung
from topout.rungs.speculate_draft import SpeculateDraft
from topout.rungs.speculate_lookup import SpeculateLookup
from topout.rungs.static_cache import StaticCacheRung

HERE = "tests.ladder.test_stack"


class Own(Rung):
    """A rung of a user's own."""

    name = "own"
    change = "something"
    requires = ("static_cache",)


class OnLookup(Rung):
    """Stands on a rung that another one excludes."""

    name = "on_lookup"
    change = "something"
    requires = ("static_cache", "speculate_lookup")


class WithoutCompile(Rung):
    """Excludes a rung that knows nothing of it."""

    name = "without_compile"
    change = "something"
    excludes = ("compile",)


@pytest.fixture(autouse=True)
def _own_rungs_are_named() -> None:
    let_in([f"{HERE}:{name}" for name in ("Own", "OnOwn", "OnLookup", "WithoutCompile")])


def stacked(champion: list[str], rung: Rung) -> list[str]:
    return Stack.of(champion).plus(rung).names


# --- one more rung ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("champion", "rung", "stack"),
    [
        ([], StaticCacheRung(), ["static_cache"]),
        ([], Bf16(), ["bf16"]),
        ([], Compile(), ["static_cache", "compile"]),
        # What is required comes with what that requires, each where it belongs on the ladder.
        ([], GenerateGemv(), ["static_cache", "compile", "generate_gemv"]),
        (["static_cache"], GenerateGemv(), ["static_cache", "compile", "generate_gemv"]),
        (["bf16"], GenerateGemv(), ["static_cache", "compile", "bf16", "generate_gemv"]),
        (
            ["static_cache", "compile", "bf16"],
            QuantizeWeightsInt8(),
            ["static_cache", "compile", "bf16", "quantize_weights_int8"],
        ),
        # What is excluded goes.
        (
            ["static_cache", "compile", "speculate_lookup"],
            SpeculateDraft(),
            ["static_cache", "compile", "speculate_draft"],
        ),
        (
            ["static_cache", "speculate_draft"],
            SpeculateLookup(),
            ["static_cache", "speculate_lookup"],
        ),
    ],
)
def test_stacks(champion: list[str], rung: Rung, stack: list[str]) -> None:
    assert stacked(champion, rung) == stack


def test_what_stands_on_something_excluded_goes_too() -> None:
    champion = ["static_cache", "speculate_lookup", f"{HERE}:OnLookup", "bf16"]
    assert stacked(champion, SpeculateDraft()) == ["static_cache", "bf16", "speculate_draft"]


def test_what_excludes_a_rung_goes_when_that_is_tried() -> None:
    champion = ["static_cache", f"{HERE}:WithoutCompile"]
    assert stacked(champion, Compile()) == ["static_cache", "compile"]
    own = find_rung(f"{HERE}:WithoutCompile")
    assert stacked(["static_cache", "compile"], own) == ["static_cache", own.name]


def test_a_rung_of_ones_own_keeps_its_place() -> None:
    own = f"{HERE}:Own"
    assert stacked([], find_rung(own)) == ["static_cache", own]
    assert stacked(["static_cache", own], Compile()) == ["static_cache", own, "compile"]
    # One that needs nothing was kept before the cache: the cache goes to the bottom.
    assert stacked([f"{HERE}:WithoutCompile"], find_rung(own)) == [
        "static_cache",
        f"{HERE}:WithoutCompile",
        own,
    ]


def test_one_type_of_weights_takes_the_place_of_another() -> None:
    stack = stacked(["static_cache", "compile", "bf16"], find_rung("native_linear_int8"))
    assert stack == ["static_cache", "compile", "native_linear_int8"]
    stack = stacked(stack, find_rung("native_linear_int4"))
    assert stack == ["static_cache", "compile", "native_linear_int4"]
    stack = stacked(stack, find_rung("quantize_weights_int8"))
    assert stack == ["static_cache", "compile", "quantize_weights_int8"]
    assert stacked([], find_rung("native_linear_fp32"))[0] == "static_cache"


class OnOwn(Rung):
    """Stands on another rung of the user's."""

    name = "on_own"
    change = "something"
    requires = (f"{HERE}:Own",)


class OnBf16(Rung):
    """Requires what the native layers exclude."""

    name = "on_bf16"
    change = "something"
    requires = ("static_cache", "bf16")


class OnTwoRivals(Rung):
    """Requires what cannot be together."""

    name = "on_two_rivals"
    change = "something"
    requires = ("static_cache", "speculate_lookup", "speculate_draft")


def test_a_rung_of_ones_own_may_stand_on_another() -> None:
    on_own = find_rung(f"{HERE}:OnOwn")
    expected = ["static_cache", "compile", f"{HERE}:Own", on_own.name]
    assert stacked(["static_cache", "compile"], on_own) == expected


def test_what_excludes_a_requirement_goes() -> None:
    champion = ["static_cache", "compile", "native_linear_int8"]
    expected = ["static_cache", "compile", "bf16", "on_bf16"]
    assert stacked(champion, OnBf16()) == expected


def test_requirements_that_exclude_each_other_are_named() -> None:
    with pytest.raises(InputError, match=r"speculate_draft cannot be beside speculate_lookup"):
        Stack().plus(OnTwoRivals())


def test_an_unknown_requirement_is_named() -> None:
    with pytest.raises(UnknownNameError, match="'static_cash'"):
        Stack().plus(OnTypo())


class OnTypo(Rung):
    """Requires what there is not."""

    name = "on_typo"
    change = "something"
    requires = ("static_cash",)


# --- a stack alone ----------------------------------------------------------------------------


def test_a_stack_without_its_requirement_is_refused() -> None:
    with pytest.raises(InputError, match=r"compile requires static_cache.* on transformers_eager"):
        Stack.of(["compile"])
    with pytest.raises(InputError, match="compile"):
        Stack.of(["compile", "static_cache"])  # above it, where it must be below


def test_a_stack_of_rivals_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be beside"):
        Stack.of(["static_cache", "speculate_draft", "speculate_lookup"])


def test_one_inexact_rung_makes_a_stack_inexact() -> None:
    """The class that the whole stack is verified under."""
    assert Stack().output_class == Stack.of(["static_cache", "compile"]).output_class == "exact"
    stack = Stack.of(["static_cache", "bf16", "speculate_lookup"])
    assert stack.output_class == "near"
    assert stack.below.names == ["static_cache", "bf16"]


def test_stacks_of_the_same_rungs_are_equal() -> None:
    names = ["static_cache", f"{HERE}:Own"]
    assert Stack.of(names) == Stack.of(["transformers_eager", *names]) != Stack.of(names[:1])


def test_a_stack_is_called_by_its_rungs() -> None:
    assert Stack().label == label_of([]) == "transformers_eager"
    assert Stack.of(["bf16"]).label == "bf16"
    assert Stack.of(["static_cache", "compile"]).label == "static_cache + compile"
