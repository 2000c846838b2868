"""Which token follows from logits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.generation.draws import chi_square_p_value
from topout.generation.sampling import Sampling, draw

logit_rows = st.lists(st.floats(min_value=-20, max_value=20, width=32), min_size=2, max_size=9).map(
    lambda row: torch.tensor([row])
)


def test_greedy_is_certain_of_the_largest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -1.0, 1.0]])
    sampling = Sampling()
    assert sampling.greedy
    assert sampling.probabilities(logits).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert sampling.choose(logits).tolist() == [[1], [0]]


def test_greedy_takes_the_first_of_equals() -> None:
    logits = torch.tensor([[1.0, 5.0, 5.0, 5.0]])
    assert Sampling().probabilities(logits).tolist() == [[0, 1, 0, 0]]
    assert Sampling().choose(logits).tolist() == [[1]]


def test_the_temperature_divides_the_logits() -> None:
    # exp(0), exp(2·ln 2 / 2) = 2 and exp(2·ln 5 / 2) = 5, of 8 together.
    logits = torch.tensor([[0.0, 2 * math.log(2), 2 * math.log(5)]])
    found = Sampling(temperature=2.0).probabilities(logits)
    torch.testing.assert_close(found, torch.tensor([[1 / 8, 2 / 8, 5 / 8]]))


def test_top_k_leaves_the_k_largest() -> None:
    logits = torch.log(torch.tensor([[1.0, 4.0, 2.0, 3.0], [4.0, 3.0, 2.0, 1.0]]))
    found = Sampling(temperature=1.0, top_k=2).probabilities(logits)
    expected = torch.tensor([[0, 4 / 7, 0, 3 / 7], [4 / 7, 3 / 7, 0, 0]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("top_k", [4, 5, 1000, None])
def test_top_k_of_the_whole_vocabulary_changes_nothing(top_k: int | None) -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.0]])
    found = Sampling(temperature=1.0, top_k=top_k).probabilities(logits)
    torch.testing.assert_close(found, torch.softmax(logits, dim=-1))


def test_distributions_are_in_fp32() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.bfloat16)
    for sampling in (Sampling(), Sampling(temperature=0.7)):
        assert sampling.probabilities(logits).dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(logit_rows, st.sampled_from([0.0, 0.1, 0.7, 2.0]), st.none() | st.integers(1, 12))
def test_it_is_a_distribution_that_favours_large_logits(
    logits: torch.Tensor, temperature: float, top_k: int | None
) -> None:
    found = Sampling(temperature=temperature, top_k=top_k).probabilities(logits)[0]
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(found.min()) >= 0
    assert float(found[logits[0].argmax()]) == float(found.max())
    if top_k is not None:
        least_kept = logits[0].topk(min(top_k, logits.shape[-1])).values[-1]
        assert bool((found[logits[0] < least_kept] == 0).all())


def test_draws_follow_the_distribution() -> None:
    torch.manual_seed(1)
    p = torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05])
    draws = draw(p.expand(5000, 5))
    assert draws.shape == (5000, 1)
    counts = torch.bincount(draws[:, 0], minlength=5)
    assert counts[2] == 0
    assert chi_square_p_value(counts, p) > 1e-3
    assert chi_square_p_value(counts, torch.tensor([0.4, 0.4, 0.0, 0.15, 0.05])) < 1e-6


def test_a_choice_at_a_temperature_is_a_draw() -> None:
    torch.manual_seed(2)
    logits = torch.tensor([[0.0, 1.0, -2.0]])
    sampling = Sampling(temperature=1.5, top_k=2)
    chosen = sampling.choose(logits.expand(3000, 3))
    counts = torch.bincount(chosen[:, 0], minlength=3)
    assert chi_square_p_value(counts, sampling.probabilities(logits)[0]) > 1e-3


# --- top-p --------------------------------------------------------------------------------------


def test_top_p_keeps_the_likeliest_until_they_have_it() -> None:
    """0.5, 0.3 and 0.2: 0.5 is reached by the first, 0.6 by the second, 0.81 by the third."""
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    for top_p, kept in (
        (0.01, [0.0, 1.0, 0.0]),
        (0.499, [0.0, 1.0, 0.0]),
        (0.6, [0.0, 0.625, 0.375]),
        (0.81, [0.2, 0.5, 0.3]),
        (1.0, [0.2, 0.5, 0.3]),
    ):
        found = Sampling(temperature=1.0, top_p=top_p).probabilities(logits)
        torch.testing.assert_close(found, torch.tensor([kept]))


@pytest.mark.parametrize("top_p", [0.05, 0.3, 0.77, 0.95])
@pytest.mark.parametrize("top_k", [None, 7])
def test_top_p_is_that_of_transformers(top_p: float, top_k: int | None) -> None:
    """Temperature, then the k likeliest, then those that have the probability together."""
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(3)) * 2
    expected = logits / 0.8
    ids = torch.zeros(20, 1, dtype=torch.int64)
    if top_k is not None:
        expected = TopKLogitsWarper(top_k)(ids, expected)
    expected = torch.softmax(TopPLogitsWarper(top_p)(ids, expected), dim=-1)
    found = Sampling(0.8, top_k, top_p).probabilities(logits)
    torch.testing.assert_close(found, expected)


def test_draws_come_from_the_generator_that_is_given() -> None:
    logits = torch.zeros(1, 1000)

    def drawn(seed: int) -> list[int]:
        sampling = Sampling(1.0, generator=torch.Generator().manual_seed(seed))
        return [int(sampling.choose(logits)) for _ in range(4)]

    assert drawn(1) == drawn(1) != drawn(2)
