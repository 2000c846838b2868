"""The test of two rivals: quantiles and intervals against published and hand-made figures."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.measure.speed_test import LOOKS, SpeedTest, student_quantile
from topout.records import PairedRatio
from topout.speed_words import speed_sentence

ONE_LOOK = SpeedTest()
TWELVE_RUNGS = SpeedTest(error=0.05 / 12, looks=LOOKS)


def ratio_of(*pairs: float, test: SpeedTest = ONE_LOOK) -> PairedRatio:
    return test.ratio(list(pairs), [1.0] * len(pairs))


# --- the quantile -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "freedom", "quantile"),
    [
        # Tables of Student's distribution, two-sided; the first two have closed forms.
        (0.05, 1, math.tan(0.475 * math.pi)),
        (0.05, 2, 0.95 * math.sqrt(2 / (1 - 0.95**2))),
        (0.05, 3, 3.182446),
        (0.05, 4, 2.776445),
        (0.05, 30, 2.042272),
        (0.01, 10, 3.169273),
        (0.001, 4, 8.610302),
        (0.001, 5, 6.868827),
        (0.001, 120, 3.373454),
        (0.0001, 2, 99.992500),
    ],
)
def test_students_quantile(error: float, freedom: int, quantile: float) -> None:
    assert student_quantile(error, freedom) == pytest.approx(quantile, rel=1e-6)


@given(st.floats(1e-5, 0.5), st.integers(1, 300))
def test_a_smaller_error_or_fewer_degrees_of_freedom_need_more(error: float, freedom: int) -> None:
    found = student_quantile(error, freedom)
    assert student_quantile(error / 2, freedom) > found > student_quantile(error, freedom + 1)


# --- the interval -----------------------------------------------------------------------------


def test_few_pairs_have_students_interval() -> None:
    # Logarithms 0.1, 0.2, 0.3: mean 0.2, s = 0.1; t(5 %, 2) = 4.302653; 0.1 · 4.302653 / √3.
    found = ratio_of(*(math.exp(each) for each in (0.3, 0.1, 0.2)))
    half = 0.1 * 4.302653 / math.sqrt(3)
    assert found.median == pytest.approx(math.exp(0.2))
    assert found.low == pytest.approx(math.exp(0.2 - half), rel=1e-6)
    assert found.high == pytest.approx(math.exp(0.2 + half), rel=1e-6)
    assert (found.verdict, found.error) == ("not proven", 0.05)


def test_ten_pairs_have_yuens_interval() -> None:
    # Logarithms 1 … 9 and 100 (in hundredths). One of each end is cut: the mean of 2 … 9 is 5.5.
    # Winsorized: 2 2 3 4 5 6 7 8 9 9, mean 5.5, squares 2 · (3.5² + 3.5² + 2.5² + 1.5² + 0.5²)
    # = 66.5. So the error is √(66.5 / (8 · 7)) = 1.0897, and t(5 %, 7) = 2.364624.
    pairs = [math.exp(each / 100) for each in (*range(1, 10), 100)]
    found = ratio_of(*pairs)
    half = 2.364624 * math.sqrt(66.5 / 56)
    assert math.log(found.low) * 100 == pytest.approx(5.5 - half, rel=1e-5)
    assert math.log(found.high) * 100 == pytest.approx(5.5 + half, rel=1e-5)
    assert math.log(found.median) * 100 == pytest.approx(5.5)


def test_looks_share_the_error() -> None:
    test = SpeedTest(error=0.05, looks=(3, 4, 6, 9, 13))
    pairs = [math.exp(each) for each in (0.3, 0.1, 0.2)]
    found = ratio_of(*pairs, test=test)
    # A fifth of 5 %: t(1 %, 2) = 9.924843.
    half = 0.1 * 9.924843 / math.sqrt(3)
    assert math.log(found.high / found.low) == pytest.approx(2 * half, rel=1e-6)
    assert found.error == 0.05


def test_the_figure_of_skewed_pairs_lies_in_its_interval() -> None:
    # Twelve at 1 and four far above: the trimmed mean is drawn to them, the median is not.
    found = SpeedTest(error=0.999).ratio([1.0] * 12 + [3.0] * 4, [1.0] * 16)
    assert found.median == 1.0 and found.low == 1.0 and found.high > 1.0


def test_one_pair_tells_nothing() -> None:
    found = ratio_of(2.0)
    assert (found.low, found.high) == (pytest.approx(0.002), pytest.approx(2000.0))
    assert found.verdict == "not proven" and found.pairs_to_decide is None
    assert "one pair tells nothing of its spread" in speed_sentence(found, "naive")


def test_pairs_are_of_the_rivals_time_over_the_candidates() -> None:
    found = ONE_LOOK.ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    assert found.pairs == [2.0, 3.0, 1.0]
    assert found.median == pytest.approx(2.0)
    assert ONE_LOOK.ratio([2.0, 1.0], [1.0, 2.0]).median == pytest.approx(1.0)  # not 1.25


def test_a_drift_cancels_in_the_pairs() -> None:
    drift = [1.0 + 0.1 * step for step in range(12)]
    found = ONE_LOOK.ratio([2 * each for each in drift], drift)
    assert found.low == pytest.approx(2.0) and found.high == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("rival", "candidate", "message"),
    [
        ([1.0, 2.0], [1.0], "beside it"),
        ([], [], "finite times"),
        ([math.inf], [1.0], "finite times"),
        ([math.nan], [1.0], "finite times"),
    ],
)
def test_what_is_no_pair_is_refused(
    rival: list[float], candidate: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ONE_LOOK.ratio(rival, candidate)


@pytest.mark.parametrize("count", [3, 6, 12, 30])
def test_normal_noise_is_covered_as_often_as_it_says(count: int) -> None:
    draws = np.random.default_rng(count).standard_normal((2000, count))
    found = [ratio_of(*np.exp(0.1 * row)) for row in draws]
    covered = np.mean([each.low <= 1 <= each.high for each in found])
    assert 0.94 <= covered <= 0.97


# --- what depends on the text -----------------------------------------------------------------


def test_differences_between_strata_are_no_noise() -> None:
    # Two prompts: 0.1 ± 0.01 and 0.5 ± 0.01, so 0.3; s² = 4 · 0.01² / (4 − 2) and t(5 %, 2).
    logarithms = (0.09, 0.49, 0.11, 0.51)
    pairs = [math.exp(each) for each in logarithms]
    apart = ONE_LOOK.ratio(pairs, [1.0] * 4, [0, 1, 0, 1])
    half = 4.302653 * math.sqrt(4 * 0.01**2 / 2 / 4)
    assert math.log(apart.median) == pytest.approx(0.3)
    assert math.log(apart.high) == pytest.approx(0.3 + half, rel=1e-6)
    together = ONE_LOOK.ratio(pairs, [1.0] * 4)
    assert (apart.verdict, together.verdict) == ("faster", "not proven")


def test_all_strata_weigh_alike() -> None:
    # Two pairs at 0.1 and four at 0.4: 0.25, not 0.3. The error of two means of 2 and of 4 pairs
    # is √(s² (1/2 + 1/4) / 4), where s² = 6 · 0.01² / (6 − 2).
    logarithms = (0.09, 0.11, 0.39, 0.41, 0.39, 0.41)
    pairs = [math.exp(each) for each in logarithms]
    found = ONE_LOOK.ratio(pairs, [1.0] * 6, ["a", "a", "b", "b", "b", "b"])
    half = 2.776445 * math.sqrt(6 * 0.01**2 / 4 * 0.75 / 4)
    assert math.log(found.low) == pytest.approx(0.25 - half, rel=1e-6)
    assert math.log(found.high) == pytest.approx(0.25 + half, rel=1e-6)


def test_a_stratum_of_one_pair_has_no_scatter_of_its_own() -> None:
    pairs = [1.1, 1.5, 1.12]
    assert ONE_LOOK.ratio(pairs, [1.0] * 3, [0, 1, 0]) == ONE_LOOK.ratio(pairs, [1.0] * 3)


# --- the verdict ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ((1.5, 1.5, 1.5), "faster"),
        ((1.90, 1.91, 1.92), "faster"),  # three pairs of a large gain
        ((1.0 / 1.90, 1.0 / 1.91, 1.0 / 1.92), "slower"),
        ((1.5, 1.9, 1.7), "not proven"),
        ((1.051,) * 4, "faster"),
        ((1.049,) * 4, "no difference"),
        ((1.0, 1.01, 0.99, 1.0, 1.0, 1.01), "no difference"),
        ((0.99, 0.985, 0.98, 0.985, 0.98, 0.99), "no difference"),  # certain, and no matter
        ((1.75, 4.64, 1.91, 1.8), "not proven"),
    ],
)
def test_verdicts(pairs: tuple[float, ...], verdict: str) -> None:
    assert ratio_of(*pairs, test=TWELVE_RUNGS).verdict == verdict


logarithms = st.lists(st.floats(min_value=-1.0, max_value=1.0), min_size=1, max_size=20)
scales = st.floats(0.001, 1.0)


def assert_no_contradiction(found: PairedRatio) -> None:
    assert found.low <= found.median <= found.high
    within = found.low > 1 / 1.05 and found.high < 1.05
    assert (found.verdict == "no difference") == within
    if not within:
        assert (found.verdict == "faster") == (found.low > 1 and found.median >= 1.05)
        assert (found.verdict == "slower") == (found.high < 1 and found.median <= 1 / 1.05)
    assert found.verdict == "not proven" or found.pairs_to_decide is None


def assert_same(found: PairedRatio, other: PairedRatio) -> None:
    for name in ("low", "median", "high"):
        assert getattr(found, name) == pytest.approx(getattr(other, name), rel=1e-9)


@settings(max_examples=300, deadline=None)
@given(logarithms, st.floats(-0.5, 0.5), scales)
def test_the_interval_never_contradicts_the_verdict(
    scatter: list[float], shift: float, scale: float
) -> None:
    assert_no_contradiction(
        ratio_of(*(math.exp(scale * each + shift) for each in scatter), test=TWELVE_RUNGS)
    )


def paired(values: Sequence[float]) -> tuple[list[float], list[float]]:
    return [math.exp(each) for each in values], [1.0 + 0.1 * i for i in range(len(values))]


@settings(max_examples=200, deadline=None)
@given(logarithms, st.integers(1, 4))
def test_rivals_that_change_places_turn_the_interval_over(
    values: list[float], prompts: int
) -> None:
    rival, candidate = paired(values)
    strata = [i % prompts for i in range(len(values))]
    there = TWELVE_RUNGS.ratio(rival, candidate, strata)
    back = TWELVE_RUNGS.ratio(candidate, rival, strata)
    assert back.low == pytest.approx(1 / there.high)
    assert back.median == pytest.approx(1 / there.median)
    assert back.high == pytest.approx(1 / there.low)


@settings(max_examples=200, deadline=None)
@given(logarithms, st.floats(0.01, 100.0))
def test_a_machine_of_another_speed_changes_nothing(values: list[float], scale: float) -> None:
    rival, candidate = paired(values)
    scaled = TWELVE_RUNGS.ratio([scale * s for s in rival], [scale * s for s in candidate])
    assert_same(scaled, TWELVE_RUNGS.ratio(rival, candidate))


# --- what would decide it ---------------------------------------------------------------------


def test_what_is_not_proven_says_what_would_decide_it() -> None:
    # The logarithms have s = 0.160, and the median is log 1.2 = 0.182. Half the interval would be
    # t(5 %, 4) · s / √5 = 0.199 of five pairs, and t(5 %, 5) · s / √6 = 0.168 of six.
    found = ratio_of(1.1, 1.2, 1.5)
    assert (found.verdict, found.pairs_to_decide) == ("not proven", 6)
    assert speed_sentence(found, "the rival", 2.0) == (
        f"Not proven against the rival: 1.20× [{found.low:.2f}, {found.high:.2f}]; "
        "3 of 3 pairs say faster, and about 6 (12.0 s) would decide it."
    )


def test_a_gain_at_the_edge_is_not_decided_soon() -> None:
    found = ratio_of(1.05 * 0.7, 1.05, 1.05 / 0.7, 1.0499999)
    assert (found.verdict, found.pairs_to_decide) == ("not proven", None)
    assert "more of such pairs would not decide it soon" in speed_sentence(found, "it")


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ((2.0, 2.0), "2.00× [2.00, 2.00] as fast as it."),
        ((0.5, 0.5), "Slower than it: 0.50× [0.50, 0.50]."),
        ((1.0, 1.0), "No difference to it: 1.00× [1.00, 1.00], under 5 % either way."),
        ((0.8, 0.8, 1.1), None),
    ],
)
def test_sentences(pairs: tuple[float, ...], sentence: str | None) -> None:
    found = speed_sentence(ratio_of(*pairs), "it")
    assert found == sentence if sentence else "2 of 3 pairs say slower" in found
