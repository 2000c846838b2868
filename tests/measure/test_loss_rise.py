"""A rise of the loss is right, wrong or not proven, by counts made by hand and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.measure.loss_rise import (
    BLOCK_TOKENS,
    LEAST_BLOCKS,
    MOST_LOOKS,
    Rise,
    judge_rise,
    rise_of,
    share_interval,
    tokens_to_decide,
)

BOUND = math.log1p(0.01)


def of_blocks(*means: float) -> list[np.ndarray]:
    """One stretch whose blocks have these means."""
    return [np.repeat(np.array(means), BLOCK_TOKENS)]


def rise(mean: float, error: float, blocks: int = 64) -> Rise:
    return Rise(tokens=blocks * BLOCK_TOKENS, blocks=blocks, mean=mean, error=error)


def test_the_mean_and_its_error_by_hand() -> None:
    found = rise_of(of_blocks(0.0, 0.02, 0.04, 0.06))
    assert (found.tokens, found.blocks) == (256, 4)
    assert found.mean == pytest.approx(0.03)
    # Deviations 0.03, 0.01, 0.01, 0.03: variance 0.002 / 3, of the mean a fourth of it.
    assert found.error == pytest.approx(math.sqrt(0.002 / 3 / 4))


def test_what_is_left_of_a_stretch_belongs_to_its_last_blocks() -> None:
    stretches = [np.full(100, 0.01), np.full(130, 0.04)]
    found = rise_of(stretches)
    assert (found.tokens, found.blocks) == (230, 3)
    assert found.mean == pytest.approx((100 * 0.01 + 130 * 0.04) / 230)


def test_one_block_says_nothing_of_its_error() -> None:
    assert rise_of([np.zeros(10)]).interval() == (-math.inf, math.inf)


def test_the_interval_is_students() -> None:
    low, high = rise(0.004, 0.001, blocks=31).interval()
    assert (low, high) == pytest.approx((0.004 - 0.002042, 0.004 + 0.002042), abs=1e-6)


def test_wilsons_interval_by_hand() -> None:
    found = share_interval(8, 10)  # as in printed examples: 0.4902 to 0.9433
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share(counts: tuple[int, int]) -> None:
    right, count = counts
    found = share_interval(right, count)
    assert 0 <= found.low <= right / count + 1e-9 and right / count - 1e-9 <= found.high <= 1
    assert found.low < found.high


# --- verdicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "error", "verdict"),
    [
        (0.0, 0.001, "right"),
        (-0.02, 0.005, "right"),
        (0.0, 0.02, "not proven"),
        (BOUND, 0.0001, "not proven"),
        (0.012, 0.002, "not proven"),
        (0.03, 0.002, "wrong"),
        (0.03, 0.02, "not proven"),
    ],
)
def test_the_interval_decides(mean: float, error: float, verdict: str) -> None:
    whole = rise(mean, error)
    assert judge_rise(whole, [], 0.01) == verdict
    assert judge_rise(whole, [whole], 0.01) == verdict


def test_few_blocks_decide_nothing() -> None:
    assert judge_rise(rise(0.0, 1e-6, LEAST_BLOCKS - 1), [], 0.01) == "not proven"
    assert judge_rise(rise(0.0, 1e-6, LEAST_BLOCKS), [], 0.01) == "right"


def test_one_text_must_not_be_proven_beyond_twice_the_bound() -> None:
    whole = rise(0.005, 0.0005, 128)
    good, bad = rise(-0.015, 0.0005), rise(0.025, 0.0005)
    assert judge_rise(whole, [good, bad], 0.01) == "wrong"
    # Beyond the bound, but not beyond twice the bound; or not proven to be.
    assert judge_rise(whole, [good, rise(0.018, 0.0005)], 0.01) == "right"
    assert judge_rise(whole, [good, rise(0.025, 0.004)], 0.01) == "right"
    assert judge_rise(whole, [good, rise(0.025, 0.0005, LEAST_BLOCKS - 1)], 0.01) == "right"


@given(
    mean=st.floats(-0.05, 0.05),
    error=st.floats(1e-6, 0.02),
    max_loss=st.floats(0, 0.05),
)
def test_a_larger_bound_never_makes_it_worse(mean: float, error: float, max_loss: float) -> None:
    order = ["wrong", "not proven", "right"]
    whole = rise(mean, error)
    verdicts = [judge_rise(whole, [whole], bound) for bound in (max_loss, max_loss + 0.01)]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])


@pytest.mark.parametrize(("true_rise", "wrong_verdict"), [(0.0, "wrong"), (0.02, "right")])
def test_simulated_rises_are_seldom_misjudged(true_rise: float, wrong_verdict: str) -> None:
    """Skewed differences of tokens that lean on their neighbours, looked at again and again."""
    generator = np.random.default_rng(7)
    misjudged = 0
    for _ in range(300):
        noise = generator.standard_t(4, 16384)
        noise = 0.1 * (noise + np.roll(noise, 1) + np.abs(np.roll(noise, 2)) - 0.75)
        differences = math.log1p(true_rise) + noise - noise.mean() + generator.normal(0, 1e-3)
        for tokens in (1024, 2048, 4096, 8192, 16384):
            verdict = judge_rise(rise_of([differences[:tokens]]), [], 0.01)
            if verdict != "not proven":
                break
        misjudged += verdict == wrong_verdict
    assert misjudged <= 6  # 2 %


def test_how_many_tokens_would_decide() -> None:
    whole = rise(BOUND - 0.001, 0.001, 64)
    # Reach z · error at 2 % over six looks: z(1 − 0.02/6) = 2.713 errors, at a distance of 0.001.
    assert tokens_to_decide(whole, 0.01) == pytest.approx(4096 * 2.713**2, rel=1e-3)
    assert tokens_to_decide(rise(BOUND, 0.001), 0.01) is None
    assert MOST_LOOKS == 6
