"""Draws that follow the model's distribution pass, and others do not."""

import math

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.generation.draws import LEAST_P_VALUE, chi_square_p_value, verify_draws
from topout.records import Verification


@pytest.mark.parametrize(
    ("statistic", "categories", "p_value"),
    # From printed tables of the chi-square distribution.
    [
        (3.841, 2, 0.05),
        (6.635, 2, 0.01),
        (5.991, 3, 0.05),
        (18.307, 11, 0.05),
        (23.209, 11, 0.01),
        (4.865, 11, 0.9),
        (29.588, 11, 0.001),
    ],
)
def test_chi_square_against_its_table(statistic: float, categories: int, p_value: float) -> None:
    """Of n equally likely tokens with 100 draws each, one is off by d and one by −d: 2d²/100."""
    off = math.sqrt(statistic * 100 / 2)
    counts = torch.full((categories,), 100.0, dtype=torch.float64)
    counts[0] += off
    counts[1] -= off
    found = chi_square_p_value(counts, torch.full((categories,), 1 / categories))
    assert found == pytest.approx(p_value, rel=2e-3)


def test_rare_tokens_are_pooled() -> None:
    # Of 100 draws 3 each are expected of two tokens, too few for tests of their own; together 6
    # of 6 came, and 94 of 94.
    probabilities = torch.tensor([0.5, 0.44, 0.03, 0.03])
    assert chi_square_p_value(torch.tensor([50, 44, 6, 0]), probabilities) == pytest.approx(1.0)
    # Twenty in the place of 6: 14²/6 + 14²/44 = 37.1 at 2 degrees of freedom is e^(−37.1/2).
    found = chi_square_p_value(torch.tensor([50, 30, 10, 10]), probabilities)
    assert found == pytest.approx(math.exp(-(14**2 / 6 + 14**2 / 44) / 2), rel=1e-4)


def test_one_draw_of_a_very_rare_token_is_no_proof() -> None:
    """A pool of 0.01 expected draws joins the rarer of the others."""
    probabilities = torch.tensor([0.7, 0.299975, 1.5e-5, 1e-5])
    assert chi_square_p_value(torch.tensor([280, 119, 1, 0]), probabilities) > 0.9
    certain = torch.tensor([0.999975, 1.5e-5, 1e-5])
    assert chi_square_p_value(torch.tensor([399, 1, 0]), certain) == 1.0


def test_no_draws_prove_nothing() -> None:
    assert chi_square_p_value(torch.zeros(4), torch.full((4,), 0.25)) == 1.0


def test_an_impossible_token_is_impossible() -> None:
    probabilities = torch.tensor([0.5, 0.5, 0.0])
    assert chi_square_p_value(torch.tensor([500, 499, 1]), probabilities) == 0.0
    assert chi_square_p_value(torch.tensor([500, 500, 0]), probabilities) == pytest.approx(1.0)


def test_a_certain_token_leaves_nothing_to_test() -> None:
    assert chi_square_p_value(torch.tensor([0, 400]), torch.tensor([0.0, 1.0])) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=12), st.integers(0, 10**6))
def test_p_values_are_spread_evenly_under_their_own_distribution(
    weights: list[float], seed: int
) -> None:
    probabilities = torch.tensor(weights, dtype=torch.float64)
    probabilities /= probabilities.sum()
    generator = torch.Generator().manual_seed(seed)
    draws = torch.multinomial(probabilities, 2000, replacement=True, generator=generator)
    counts = torch.bincount(draws, minlength=len(weights))
    assert 1e-6 < chi_square_p_value(counts, probabilities) <= 1


def test_draws_that_do_not_fit_are_rejected() -> None:
    passed = Verification(method="", passed=True, verdict="right", reason="same", positions=6)
    fair = torch.tensor([0.5, 0.5])
    good = verify_draws(passed, torch.tensor([205, 195]), fair)
    assert good.passed and good.reason == passed.reason
    assert good.p_value is not None and good.p_value > 0.5
    bad = verify_draws(passed, torch.tensor([260, 140]), fair)
    assert not bad.passed and bad.verdict == "wrong"
    assert bad.p_value is not None and bad.p_value < LEAST_P_VALUE
    assert "400 sampled tokens do not follow" in bad.reason
    already = msgspec.structs.replace(passed, passed=False, verdict="wrong")
    assert not verify_draws(already, torch.tensor([205, 195]), fair).passed
