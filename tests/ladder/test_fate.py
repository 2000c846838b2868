"""What becomes of rungs in the final stack, told from the record of any climb."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.report.example_climb import example_climb
from topout.ladder.findings import chain_doubt
from topout.ladder.stack import Stack
from topout.ladder.verdict import untried
from topout.records import Climb, Duel, Estimate, PairedRatio, Status
from topout.rungs.registry import find_rung, rung_names


def climb_of(verdicts: list[Status]) -> tuple[Climb, Stack]:
    """A climb of the real ladder with these verdicts, and the stack that is left."""
    champion, baseline = Stack(), untried(find_rung(rung_names("generate")[0]), Stack(), "kept", "")
    rungs = [replace(baseline, on=[])]
    for name, status in zip(rung_names("generate")[1:], verdicts, strict=True):
        stack = champion.plus(find_rung(name))
        rungs.append(untried(find_rung(name), stack, status, "because"))
        champion = stack if status == "kept" else champion
    return replace(example_climb(), rungs=rungs, best=champion.label), champion


VERDICTS = st.lists(
    st.sampled_from(["kept", "rejected"]),
    min_size=len(rung_names("generate")) - 1,
    max_size=len(rung_names("generate")) - 1,
)


@given(VERDICTS)
def test_every_kept_rung_is_in_the_final_stack_or_says_what_took_its_place(
    verdicts: list[Status],
) -> None:
    climb, champion = climb_of(verdicts)
    assert climb.final_stack == (champion.names or [climb.baseline])
    for number, rung in enumerate(climb.rungs[1:], 1):
        by = climb.replaced_by(rung)
        if rung.status != "kept" or rung.name in champion.names:
            assert by is None
            continue
        later = next(each for each in climb.rungs if each.name == by)
        assert climb.rungs.index(later) > number and later.status == "kept"
        assert rung.name not in later.stack
        between = climb.rungs[number + 1 : climb.rungs.index(later)]
        assert all(rung.name in each.stack for each in between if each.status == "kept")


@given(VERDICTS)
def test_every_rung_of_the_final_stack_was_kept_or_is_needed(verdicts: list[Status]) -> None:
    climb, champion = climb_of(verdicts)
    for rung in climb.rungs[1:]:
        by = climb.needed_by(rung)
        assert (by is not None) == (rung.name in champion.names and rung.status != "kept")
        if by is not None:
            assert rung.name in next(each for each in climb.rungs if each.name == by).stack


def test_bf16_weights_are_replaced_by_int8_ones() -> None:
    kept = {"static_cache", "bf16", "native_linear_int8"}
    verdicts: list[Status] = [
        "kept" if name in kept else "rejected" for name in rung_names("generate")[1:]
    ]
    climb, champion = climb_of(verdicts)
    assert champion.names == ["static_cache", "native_linear_int8"]
    replaced = {rung.name: climb.replaced_by(rung) for rung in climb.rungs}
    assert {name for name, by in replaced.items() if by} == {"bf16"}
    assert replaced["bf16"] == "native_linear_int8"


def test_a_compile_that_gained_nothing_by_itself_is_needed_by_what_it_makes_possible() -> None:
    kept = {"static_cache", "generate_gemv"}
    verdicts: list[Status] = [
        "kept" if name in kept else "rejected" for name in rung_names("generate")[1:]
    ]
    climb, champion = climb_of(verdicts)
    assert champion.names == ["static_cache", "compile", "generate_gemv"]
    needed = {rung.name: climb.needed_by(rung) for rung in climb.rungs}
    assert {name: by for name, by in needed.items() if by} == {"compile": "generate_gemv"}


def duel(median: float, low: float, high: float) -> Duel:
    ratio = PairedRatio(median=median, low=low, high=high, pairs=[median])
    return Duel(
        champion="static_cache + compile",
        speedup=ratio,
        prefill_speedup=ratio,
        decode_speedup=ratio,
    )


@pytest.mark.parametrize(
    ("low", "high", "doubted"),
    [(1.9, 2.0, True), (1.9, 2.1, False), (2.4, 2.5, False), (2.6, 2.7, True), (1.0, 9.0, False)],
)
def test_a_product_that_the_final_duel_contradicts_is_doubted(
    low: float, high: float, doubted: bool
) -> None:
    climb = example_climb()
    chain = Estimate(median=2.2, low=2.1, high=2.5)
    rungs = [
        replace(each, speedup_over_baseline=chain) if each.name == "compile" else each
        for each in climb.rungs
    ]
    found = chain_doubt(duel(math.sqrt(low * high), low, high), rungs)
    assert (found is not None) == doubted
    if found is not None:
        assert "2.20×" in found.sentence and found.about == "static_cache + compile, speedup"


def test_without_a_product_there_is_nothing_to_contradict() -> None:
    rungs = example_climb().rungs
    assert chain_doubt(replace(duel(9.0, 8.0, 10.0), champion="gone"), rungs) is None
    bare = [replace(each, speedup_over_baseline=None) for each in rungs]
    assert chain_doubt(duel(9.0, 8.0, 10.0), bare) is None
