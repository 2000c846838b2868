"""The stopping rule on replayed samples: how often it errs, and when it stops."""

import itertools
import math
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from topout.measure.runner import Duel, StoppingRule, run_in_turns
from topout.measure.speed_test import LOOKS, SpeedTest
from topout.records import PairedRatio, Verdict

ERROR = 0.05 / 12  # of a duel of a ladder of twelve
RULE = StoppingRule(test=SpeedTest(error=ERROR, looks=LOOKS))
DUELS = 400


class Sample(msgspec.Struct, frozen=True):
    """As much of a run as the runner looks at."""

    total_s: float


def ratio_of(*pairs: float) -> PairedRatio:
    return RULE.test.ratio(list(pairs), [1.0] * len(pairs))


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

    `drift`: the machine gets slower by a factor of 2 over 32 runs.
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
    assert ratio.verdict is not None
    return ratio.verdict, len(ratio.pairs)


# --- how often it errs ------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.05, 0.1])
@pytest.mark.parametrize(
    ("drift", "outliers"), [(False, 0.0), (True, 0.0), (False, 0.1)], ids=["steady", "drift", "2x"]
)
def test_a_copy_of_its_rival_is_not_told_from_it(
    noise: float, drift: bool, outliers: float
) -> None:
    verdicts = [
        replay(seed, 1.0, noise, drift=drift, outliers=outliers)[0] for seed in range(DUELS)
    ]
    # 400 duels at 0.4 % each are 1.7 on the average if all of the error were spent.
    assert sum(each in ("faster", "slower") for each in verdicts) <= 2


def test_a_copy_in_quiet_is_no_difference() -> None:
    verdicts = [replay(seed, 1.0, 0.02)[0] for seed in range(DUELS)]
    assert verdicts.count("no difference") >= 0.99 * DUELS


def test_a_test_that_does_not_pay_for_its_looks_would_be_noticed() -> None:
    class Peeking(SpeedTest, frozen=True, kw_only=True):
        """Looks at each pair as if it were the only look, and calls any difference a gain."""

        looks: tuple[int, ...] = tuple(range(3, 60))

        def _error_at_a_look(self) -> float:
            return 0.05

    peeking = StoppingRule(test=Peeking())
    verdicts = [replay(seed, 1.0, 0.2, rule=peeking)[0] for seed in range(100)]
    assert sum(each in ("faster", "slower") for each in verdicts) > 10


def test_a_gain_of_a_tenth_is_found() -> None:
    verdicts = [replay(seed, 1.1, 0.05)[0] for seed in range(DUELS)]
    assert verdicts.count("faster") >= 0.95 * DUELS


def test_a_doubled_speed_is_found_soon_even_in_loud_noise() -> None:
    duels = [replay(seed, 2.0, 0.1) for seed in range(DUELS)]
    assert [verdict for verdict, _ in duels].count("faster") >= 0.99 * DUELS
    assert np.mean([pairs for _, pairs in duels]) <= 7


@pytest.mark.parametrize("true_ratio", [0.8, 1.0, 1.15, 1.5, 2.0])
def test_two_duels_of_the_same_rivals_agree(true_ratio: float) -> None:
    verdicts = [replay(seed, true_ratio, 0.02)[0] for seed in range(DUELS)]
    first, second = verdicts[: DUELS // 2], verdicts[DUELS // 2 :]
    agree = sum(one == other for one, other in zip(first, second, strict=True))
    assert agree >= 0.95 * len(first)


# --- when it stops ----------------------------------------------------------------------------

EQUAL = (1.0, 1.01, 0.99, 1.005, 0.995, 1.0)
GAIN = (1.0, 1.15, 1.1, 1.2, 1.05, 1.25)  # 15 pairs would decide it
WILD = (0.5, 2.1, 0.6, 2.0, 0.4, 3.0)  # hundreds would be needed


def test_it_stops_when_it_is_decided() -> None:
    assert not RULE.enough(ratio_of(1.5, 1.5), 0.0)
    assert RULE.enough(ratio_of(1.5, 1.5, 1.5), 0.0)
    assert RULE.enough(ratio_of(0.5, 0.5, 0.5), 0.0)
    assert RULE.enough(ratio_of(*EQUAL), 0.0)


def test_it_decides_only_where_it_looks() -> None:
    assert ratio_of(*EQUAL[:5]).verdict == "no difference"
    assert not RULE.enough(ratio_of(*EQUAL[:5]), 0.0)


def test_it_goes_on_while_it_is_not_decided() -> None:
    open_pairs = GAIN * 15  # 90
    for count in range(1, 10):
        assert not RULE.enough(ratio_of(*WILD[:count]), 0.0)
    assert not RULE.enough(ratio_of(*(WILD * 15)[:89]), 0.0)
    assert RULE.enough(ratio_of(*WILD * 15), 0.0)  # the last look
    assert RULE.enough(ratio_of(*open_pairs), 0.0)


def test_time_ends_a_duel_that_it_would_not_decide() -> None:
    rule = StoppingRule(test=RULE.test, time_budget_s=10.0)
    assert not rule.enough(ratio_of(*WILD), 9.9)
    assert rule.enough(ratio_of(*WILD), 10.1)
    assert not rule.enough(ratio_of(*WILD[:5]), 10.1)  # five pairs are no look
    assert rule.enough(ratio_of(*WILD[:5]), 30.1)
    assert not rule.enough(ratio_of(*WILD[:2]), 1e6)  # three are run in any case
    assert rule.enough(ratio_of(*WILD[:3]), 1e6)


def test_a_duel_that_more_time_would_decide_gets_three_times_as_much() -> None:
    rule = StoppingRule(test=RULE.test, time_budget_s=10.0)
    ratio = ratio_of(*GAIN)
    assert (ratio.verdict, len(ratio.pairs), ratio.pairs_to_decide) == ("not proven", 6, 15)
    assert not rule.enough(ratio, 23.9)  # 15 pairs would take 15 · 23.9 / 6 = 59.8 s
    assert rule.enough(ratio, 24.1)  # … and here 60.3 s, twice the 30 s that there are
    assert not rule.enough(ratio, 9.9)


# --- the order of runs ------------------------------------------------------------------------


def scripted(calls: list[str], name: str, seconds: float) -> Callable[[], Sample]:
    def run() -> Sample:
        calls.append(name)
        return Sample(seconds)

    return run


def test_rivals_run_in_turns_and_the_order_alternates() -> None:
    calls: list[str] = []
    seen: list[int] = []
    rule = StoppingRule(test=SpeedTest(looks=(4,)))
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
    rule = StoppingRule(test=SpeedTest(looks=(100,)), time_budget_s=3.5)
    duel = run_in_turns(
        scripted(calls, "A", 1.0), scripted(calls, "B", 1.0), rule, clock=lambda: next(ticks)
    )
    # Read once at the start and once per pair: 3, 6, 9, 12 s; 12 is more than thrice the budget.
    assert calls.count("A") == 4
    assert duel.elapsed_s == 12.0


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
