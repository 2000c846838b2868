"""The doubts of a climb: of many rungs alike, one is shown, with the largest figures."""

from msgspec.structs import replace

from tests.report.example_climb import example_climb
from topout.records import Climb, Doubt
from topout.report.climb.document import climb_document


def doubted(**sentences: str) -> Climb:
    """The example with a doubt about the runs of the named rungs, and no other."""
    climb = example_climb()
    rungs = [
        replace(
            rung,
            doubts=[Doubt(about="runs", sentence=sentences[rung.name], remedy="Run again.")]
            if rung.name in sentences
            else [],
        )
        for rung in climb.rungs
    ]
    return replace(climb, rungs=rungs, doubts=[], ceilings=None)


def test_doubts_that_differ_in_figures_become_the_one_of_the_largest() -> None:
    alike = "Single runs lie {}% apart."
    climb = doubted(
        transformers_eager=alike.format(9), static_cache=alike.format(30), compile=alike.format(12)
    )
    (doubt,) = climb_document(climb).doubts
    assert doubt.about == "static_cache, runs"
    assert doubt.sentence == ("Single runs lie 30% apart. Likewise in transformers_eager, compile.")
    assert doubt.remedy == "Run again."


def test_doubts_in_other_words_stay_apart() -> None:
    climb = doubted(static_cache="Only 2 runs.", compile="Single runs lie 2% apart.")
    first, second = climb_document(climb).doubts
    assert (first.sentence, second.sentence) == ("Only 2 runs.", "Single runs lie 2% apart.")
    assert [each.about for each in (first, second)] == ["static_cache, runs", "compile, runs"]
