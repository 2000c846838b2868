"""The sentences on top of the result."""

from msgspec.structs import replace

from topout.report.climb.document import headlines

from ..example_climb import example_climb
from .hard_climbs import crashed_baseline, empty_climb, fruitless_climb


def test_the_duel_comes_first_and_the_exact_stack_after_it() -> None:
    first, second = headlines(example_climb())
    assert first.startswith(
        "static_cache + native_engine + int8_weights is 4.28× the baseline in decode [4.26, 4.30]"
    )
    assert second.startswith("With the output unchanged: static_cache + compile is 2.16×")


def test_an_exact_champion_is_not_told_twice() -> None:
    climb = example_climb()
    assert len(headlines(replace(climb, exact_duel=climb.duel))) == 1


def test_no_gain_is_said_plainly() -> None:
    assert headlines(fruitless_climb()) == ["No rung beat the baseline transformers_eager."]


def test_an_interrupted_climb_says_so() -> None:
    assert "interrupted" in headlines(empty_climb())[-1]


def test_a_missing_duel_has_its_reason() -> None:
    climb = replace(crashed_baseline(), reasons={"duel": "the baseline failed."})
    assert headlines(climb)[0].endswith("the baseline failed.")


def test_random_weights_are_labelled() -> None:
    climb = example_climb()
    sentences = headlines(replace(climb, model=replace(climb.model, weights="random")))
    assert any("random weights" in sentence for sentence in sentences)


def test_nothing_measured_is_not_called_a_result() -> None:
    assert headlines(empty_climb())[0] == "Nothing was measured."
    assert headlines(crashed_baseline())[0].startswith(
        "Nothing was measured: transformers_eager: the worker was killed"
    )
