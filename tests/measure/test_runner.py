"""The stopping rule on replayed samples: how often it errs, and what it takes to convince it."""

import itertools
import math
from collections.abc import Callable, Iterator
from math import comb

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.measure.runner import Duel, StoppingRule, Verdict, run_in_turns
from topout.measure.stats import paired_ratio
from topout.records import PairedRatio

RULE = StoppingRule()
DUELS = 400


class Sample(msgspec.Struct, frozen=True):
    """As much of a run as the runner looks at."""

    total_s: float


def ratio_of(*pairs: float) -> PairedRatio:
    return paired_ratio(list(pairs), [1.0] * len(pairs))


def replay(
    seed: int,
    true_ratio: float,
    noise: float,
    *,
    drift: bool = False,
    outliers: float = 0.0,
    rule: StoppingRule = RULE,
) -> tuple[Verdict, int]:
    """A duel whose runs scatter log-normally; (verdict, pairs).

    `drift`: the machine gets slower by a factor of 2 over the 32 runs of the longest duel.
    `outliers`: the share of runs that take twice as long.
    """
    generator = np.random.default_rng(seed)
    runs = itertools.count()

    def run(base_s: float) -> Sample:
        number = next(runs)
        total_s = base_s * math.exp(noise * generator.standard_normal())
        total_s *= 2 ** (number / 32) if drift else 1.0
        return Sample(total_s * (2.0 if generator.random() < outliers else 1.0))

    duel = run_in_turns(lambda: run(1.0), lambda: run(1 / true_ratio), rule, clock=lambda: 0.0)
    ratio = duel.ratio()
    return rule.verdict(ratio), len(ratio.pairs)


# --- how often it errs ------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.05, 0.1])
@pytest.mark.parametrize(
    ("drift", "outliers"), [(False, 0.0), (True, 0.0), (False, 0.1)], ids=["steady", "drift", "2x"]
)
def test_a_copy_of_its_rival_makes_no_difference(
    noise: float, drift: bool, outliers: float
) -> None:
    verdicts = [
        replay(seed, 1.0, noise, drift=drift, outliers=outliers)[0] for seed in range(DUELS)
    ]
    assert verdicts.count("no difference") >= 0.95 * DUELS


def test_a_copy_makes_no_difference_in_a_short_duel() -> None:
    short = StoppingRule(min_pairs=4, max_pairs=6)
    for noise in (0.03, 0.1):
        verdicts = [replay(seed, 1.0, noise, rule=short)[0] for seed in range(DUELS)]
        assert verdicts.count("no difference") >= 0.95 * DUELS


def test_a_rule_that_peeks_at_the_interval_would_be_noticed() -> None:
    class Peeking(StoppingRule, frozen=True, kw_only=True):
        """Calls it a difference as soon as the 95 % interval leaves out 1."""

        def verdict(self, ratio: PairedRatio) -> Verdict:
            if len(ratio.pairs) < 6:
                return "no difference"
            return "faster" if ratio.low > 1 else "slower" if ratio.high < 1 else "no difference"

    verdicts = [replay(seed, 1.0, 0.1, rule=Peeking())[0] for seed in range(DUELS)]
    assert verdicts.count("no difference") < 0.95 * DUELS


def test_a_gain_of_a_tenth_is_found() -> None:
    verdicts = [replay(seed, 1.1, 0.03)[0] for seed in range(DUELS)]
    assert verdicts.count("faster") >= 0.9 * DUELS


def test_a_doubled_speed_is_found_at_once_even_in_loud_noise() -> None:
    duels = [replay(seed, 2.0, 0.1) for seed in range(DUELS)]
    assert [verdict for verdict, _ in duels].count("faster") >= 0.99 * DUELS
    assert np.mean([pairs for _, pairs in duels]) <= 4


@pytest.mark.parametrize("true_ratio", [0.8, 1.0, 1.15, 1.5, 2.0])
def test_two_duels_of_the_same_rivals_agree(true_ratio: float) -> None:
    verdicts = [replay(seed, true_ratio, 0.03)[0] for seed in range(DUELS)]
    first, second = verdicts[: DUELS // 2], verdicts[DUELS // 2 :]
    agree = sum(one == other for one, other in zip(first, second, strict=True))
    assert agree >= 0.9 * len(first)


# --- what it takes to convince it -------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ((1.5,), "no difference"),
        ((1.5, 1.5), "no difference"),
        ((1.5, 1.5, 1.5), "faster"),
        ((0.5, 0.6, 0.5), "slower"),
        ((1.25, 1.3, 2.0), "no difference"),  # log 1.25 = 0.22 is under half of log 2 = 0.69
        ((1.25, 1.3, 1.5, 1.9), "faster"),  # … but over a third of log 1.9 = 0.64
        ((1.1, 1.15, 1.1), "no difference"),  # 0.095 is 68 % of 0.140, and three need 87 %
        ((1.1, 1.15, 1.1, 1.12), "faster"),  # four need 65 %
        ((1.05, 1.15, 1.1, 1.12), "no difference"),  # 0.049 is 35 % of 0.140
        ((1.05, 1.15, 1.1, 1.12, 1.1, 1.1), "faster"),  # six need 31 %
        ((1.001, 1.2, 1.3, 1.1, 1.2, 1.3), "no difference"),
        ((1.001, 1.2, 1.3, 1.1, 1.2, 1.3, 1.1), "faster"),  # seven on one side are enough
        ((0.999, 0.8, 0.9, 0.7, 0.8, 0.7, 0.9), "slower"),
        ((0.99, 1.2, 1.3, 1.1, 1.2, 1.3, 1.1), "no difference"),
        ((1.0, 1.2, 1.3, 1.1, 1.2, 1.3, 1.1), "no difference"),
        ((0.9, *[1.2] * 9), "no difference"),
        ((0.9, *[1.2] * 10), "faster"),  # of eleven, one may lie on the other side
        ((0.9, 0.9, *[1.2] * 11), "no difference"),
        ((0.9, 0.9, *[1.2] * 12), "faster"),  # of fourteen, two
        ((1.02,) * 16, "no difference"),  # certain, and not worth it
        ((0.98,) * 16, "no difference"),
        ((1.049,) * 16, "no difference"),
        ((1.051,) * 7, "faster"),
    ],
)
def test_verdicts(pairs: tuple[float, ...], verdict: str) -> None:
    assert RULE.verdict(ratio_of(*pairs)) == verdict


@pytest.mark.parametrize("count", range(7, 40))
def test_from_seven_pairs_on_it_is_the_sign_test(count: int) -> None:
    """The most losses that still convince have at most the probability of 7 of 7 on one side."""

    def convinces(losses: int) -> bool:
        return RULE.verdict(ratio_of(*[0.5] * losses, *[2.0] * (count - losses))) == "faster"

    def two_sided_p(losses: int) -> float:
        return 2 * sum(comb(count, i) for i in range(losses + 1)) / 2**count

    for losses in range(count // 2):
        assert convinces(losses) == (two_sided_p(losses) <= 2 / 2**7)


logarithms = st.lists(st.floats(min_value=-1.0, max_value=1.0), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(logarithms, st.floats(min_value=-0.5, max_value=0.5))
def test_the_interval_of_a_difference_lies_on_one_side_of_1(
    scatter: list[float], shift: float
) -> None:
    ratio = ratio_of(*[math.exp(0.3 * each + shift) for each in scatter])
    verdict = RULE.verdict(ratio)
    if verdict == "faster":
        assert ratio.low > 1 and ratio.median >= 1.05
    if verdict == "slower":
        assert ratio.high < 1 and ratio.median <= 1 / 1.05


@settings(max_examples=100, deadline=None)
@given(logarithms)
def test_rivals_that_change_places_turn_the_verdict_over(scatter: list[float]) -> None:
    there = RULE.verdict(ratio_of(*[math.exp(each) for each in scatter]))
    back = RULE.verdict(ratio_of(*[math.exp(-each) for each in scatter]))
    turned = {"faster": "slower", "slower": "faster", "no difference": "no difference"}
    assert back == turned[there]


# --- when it stops ----------------------------------------------------------------------------


def test_it_stops_when_a_difference_is_clear() -> None:
    assert not RULE.enough(ratio_of(1.5, 1.5), 0.0)
    assert RULE.enough(ratio_of(1.5, 1.5, 1.5), 0.0)
    assert RULE.enough(ratio_of(0.5, 0.5, 0.5), 0.0)


def test_it_stops_when_no_gain_can_be_expected() -> None:
    equal = [1.0, 1.01, 0.99, 1.005, 0.995, 1.0]
    assert not RULE.enough(ratio_of(*equal), 0.0)
    assert RULE.enough(ratio_of(*equal, 1.01), 0.0)  # seven pairs, and the interval ends under 1.05


def test_it_goes_on_while_the_interval_reaches_a_gain() -> None:
    open_pairs = [0.95, 1.1, 1.0, 1.08, 0.97, 1.1, 1.05]
    assert not RULE.enough(ratio_of(*open_pairs), 0.0)
    assert not RULE.enough(ratio_of(*open_pairs, *open_pairs, 1.0), 0.0)
    assert RULE.enough(ratio_of(*open_pairs, *open_pairs, 1.0, 1.1), 0.0)  # 16 pairs


def test_time_ends_a_duel() -> None:
    rule = StoppingRule(time_budget_s=10.0)
    open_pairs = [0.9, 1.1, 1.0, 1.08, 0.92, 1.1, 1.05]
    assert not rule.enough(ratio_of(*open_pairs), 9.9)
    assert rule.enough(ratio_of(*open_pairs), 10.1)
    # So few pairs are given twice the time, and three are run in any case.
    assert not rule.enough(ratio_of(*open_pairs[:3]), 19.9)
    assert rule.enough(ratio_of(*open_pairs[:3]), 20.1)
    assert not rule.enough(ratio_of(*open_pairs[:2]), 1e6)


# --- the order of runs ------------------------------------------------------------------------


def scripted(calls: list[str], name: str, seconds: float) -> Callable[[], Sample]:
    def run() -> Sample:
        calls.append(name)
        return Sample(seconds)

    return run


def test_rivals_run_in_turns_and_the_order_alternates() -> None:
    calls: list[str] = []
    seen: list[int] = []
    rule = StoppingRule(max_pairs=4, min_pairs=10)
    duel = run_in_turns(
        scripted(calls, "A", 1.0),
        scripted(calls, "B", 1.001),
        rule,
        on_pair=lambda ratio: seen.append(len(ratio.pairs)),
        clock=lambda: 0.0,
    )
    assert calls == ["A", "B", "B", "A", "A", "B", "B", "A"]
    assert seen == [1, 2, 3, 4]
    assert [each.total_s for each in duel.rival] == [1.0] * 4
    assert [each.total_s for each in duel.candidate] == [1.001] * 4
    assert duel.ratio().median == pytest.approx(1 / 1.001)


def test_the_clock_starts_with_the_duel() -> None:
    ticks: Iterator[float] = itertools.count(1000.0, 3.0)
    calls: list[str] = []
    rule = StoppingRule(time_budget_s=5.0, min_pairs=100, max_pairs=100)
    run_in_turns(
        scripted(calls, "A", 1.0), scripted(calls, "B", 1.0), rule, clock=lambda: next(ticks)
    )
    # Read once at the start and once per pair: 3, 6, 9, 12 s; 12 is more than twice the budget.
    assert calls.count("A") == 4


def test_a_ratio_is_of_the_rivals_time_over_the_candidates() -> None:
    duel = Duel(rival=[Sample(3.0)], candidate=[Sample(2.0)])
    assert duel.ratio().pairs == [1.5]


@pytest.mark.parametrize("failing", ["rival", "candidate"])
def test_an_exception_of_either_rival_passes_through(failing: str) -> None:
    calls: list[str] = []
    good = scripted(calls, "good", 1.0)

    def bad() -> Sample:
        raise RuntimeError("the worker died")

    rivals = {"rival": (bad, good), "candidate": (good, bad)}[failing]
    with pytest.raises(RuntimeError, match="the worker died"):
        run_in_turns(*rivals, RULE)
    assert len(calls) <= 1
