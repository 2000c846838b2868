"""What counts as disturbed, and what becomes of it in a duel."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from topout.measure.disturbance import (
    WATCH,
    disturbance_doubts,
    disturbed_pairs,
    is_disturbed,
    stratum_of,
)
from topout.measure.runner import Duel, StoppingRule, run_in_turns
from topout.measure.speed_test import SpeedTest
from topout.records import RunSample


def sample(total_s: float = 1.0, **changes: Any) -> RunSample:
    known = {"ttft_s": 0.1, "new_tokens": 8, "forward_passes": 7, "at_s": 0.0}
    return RunSample(total_s=total_s, **(known | changes))


@pytest.mark.parametrize(
    ("changes", "disturbed"),
    [
        ({}, False),
        ({"stolen_share": 0.02, "other_load": 0.15}, False),
        ({"stolen_share": 0.021}, True),
        ({"other_load": 0.151}, True),
        ({"stolen_share": 0.04, "total_s": 0.24}, False),  # 9.6 ms: a tick of one of two CPUs
        ({"stolen_share": 0.05, "total_s": 0.24}, True),
    ],
)
def test_a_notable_share_of_the_cpus_disturbs(changes: dict[str, float], disturbed: bool) -> None:
    assert is_disturbed(sample(**changes)) == disturbed


def test_what_speculates_depends_on_its_prompt() -> None:
    assert stratum_of(sample(forward_passes=6, prompt=3)) == 3
    assert stratum_of(sample(forward_passes=7, prompt=3)) is None


QUIET, BUSY = sample(other_load=0.01), sample(total_s=9.0, other_load=0.5)


def duel_of(runs: Sequence[RunSample], pairs: int, own: RunSample = QUIET) -> Duel[RunSample]:
    """The rival's runs, the last one over and over; the candidate's are all alike."""
    rival = itertools.chain(runs, itertools.repeat(runs[-1]))

    def next_rival() -> RunSample:
        return next(rival)

    def candidate() -> RunSample:
        return own

    rule = StoppingRule(test=SpeedTest(looks=(pairs,)))
    return run_in_turns(next_rival, candidate, rule, watch=WATCH, clock=lambda: 0.0)


def test_a_disturbed_pair_is_repeated_and_kept_apart() -> None:
    duel = duel_of([QUIET, BUSY, QUIET], pairs=4)
    assert duel.rival == [QUIET] * 4 and duel.ratio().verdict == "no difference"
    [pair] = disturbed_pairs(duel)
    assert (pair.rival, pair.candidate) == (BUSY, QUIET)
    assert not duel.uses_disturbed and disturbance_doubts("runs", duel) == []


def test_a_disturbed_candidate_is_repeated_too() -> None:
    duel = duel_of([QUIET], pairs=3, own=BUSY)
    assert duel.uses_disturbed


def test_one_repeat_for_each_clean_pair_and_three_more() -> None:
    # 1 clean pair and then 4 disturbed ones lie within 1 + 3.
    duel = duel_of([QUIET, BUSY, BUSY, BUSY, BUSY, QUIET], pairs=3)
    assert (len(duel.rival), len(duel.disturbed), duel.uses_disturbed) == (3, 4, False)
    # The fifth is one too many: all are used, and what is disturbed later is not repeated.
    duel = duel_of([QUIET, *[BUSY] * 7, QUIET], pairs=9)
    assert duel.rival == [QUIET, *[BUSY] * 7, QUIET]
    assert (duel.disturbed, duel.uses_disturbed) == ([], True)
    [doubt] = disturbance_doubts("runs", duel)
    assert doubt.sentence == (
        "Other programs or the hypervisor disturbed 7 of 9 pairs, too many to repeat, so they are "
        "used."
    )


def test_a_machine_that_is_always_disturbed_ends_with_a_doubt() -> None:
    duel = duel_of([BUSY], pairs=6)
    assert duel.rival == [BUSY] * 6 and duel.disturbed == []
    [doubt] = disturbance_doubts("runs", duel)
    assert "disturbed 6 of 6 pairs" in doubt.sentence and "quieter machine" in doubt.remedy


def test_the_order_alternates_over_repeats() -> None:
    calls: list[str] = []

    def run(name: str, runs: Sequence[RunSample]) -> Callable[[], RunSample]:
        left = iter(runs)

        def one() -> RunSample:
            calls.append(name)
            return next(left)

        return one

    rule = StoppingRule(test=SpeedTest(looks=(3,)))
    rival = run("A", [BUSY, QUIET, QUIET, QUIET])
    run_in_turns(rival, run("B", [QUIET] * 4), rule, watch=WATCH, clock=lambda: 0.0)
    assert calls == ["A", "B", "B", "A", "A", "B", "B", "A"]


def test_pairs_of_a_duel_that_speculates_are_told_apart_by_prompt() -> None:
    # The candidate takes 0.5 s on prompt 0 and 0.2 s on prompt 1: between them lies no noise.
    runs = itertools.cycle([(0, 0.5), (1, 0.2)])

    def candidate() -> RunSample:
        prompt, total_s = next(runs)
        return sample(total_s, forward_passes=3, prompt=prompt)

    rule = StoppingRule(test=SpeedTest(error=0.01, looks=(4,)))
    duel = run_in_turns(lambda: sample(prompt=9), candidate, rule, watch=WATCH, clock=lambda: 0.0)
    assert duel.strata == [0, 1, 0, 1]
    ratio = duel.ratio()
    assert ratio.verdict == "faster" and ratio.median == pytest.approx(10**0.5)  # √(2 · 5)
    alone = duel.test.ratio([1.0] * 4, [each.total_s for each in duel.candidate])
    assert alone.verdict == "not proven"
