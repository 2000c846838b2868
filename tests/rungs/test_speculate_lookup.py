"""Proposals from earlier n-grams."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.generation.tiny_builds import build_of, source_of
from topout.cost.predict import Expectation
from topout.generation.sampling import Sampling
from topout.rungs.speculate_lookup import (
    LONGEST_NGRAM,
    LookupProposer,
    NgramIndex,
    SpeculateLookup,
)

# Few different tokens, so that n-grams come again.
texts = st.lists(st.integers(0, 3), min_size=1, max_size=40)
brief = settings(max_examples=50, deadline=None)


def continuation(tokens: list[int], count: int, longest: int = LONGEST_NGRAM) -> list[int]:
    return NgramIndex(longest).continuation(tokens, count)


@pytest.mark.parametrize(
    ("tokens", "count", "expected"),
    [
        ([1, 2, 3, 4, 5, 1, 2, 3], 2, [4, 5]),  # what followed 1 2 3
        ([1, 2, 9, 3, 2, 8, 1, 2], 1, [9]),  # 1 2, though 2 alone was last followed by 8
        ([1, 7, 1, 8, 1], 1, [8]),  # the latest occurrence counts
        ([4, 5], 3, [5, 5, 5]),  # nothing came twice: the last token again
        ([4], 2, [4, 4]),
        ([6, 6], 2, [6, 6]),
        ([1, 2, 3, 1, 2], 5, [3, 1, 2, 3, 1]),  # past the text it goes on with its own output
    ],
)
def test_continuations(tokens: list[int], count: int, expected: list[int]) -> None:
    assert continuation(tokens, count) == expected


def test_the_longest_match_wins() -> None:
    tokens = [1, 2, 3, 7, 2, 3, 8, 1, 2, 3]
    assert continuation(tokens, 1, longest=3) == [7]
    assert continuation(tokens, 1, longest=2) == [8]


@brief
@given(texts, st.integers(1, 8), st.integers(1, 4))
def test_there_are_as_many_as_asked_for_and_they_are_of_the_text(
    tokens: list[int], count: int, longest: int
) -> None:
    found = continuation(tokens, count, longest)
    assert len(found) == count
    assert set(found) <= set(tokens)


@brief
@given(st.lists(st.integers(0, 99), min_size=1, max_size=7, unique=True), st.integers(1, 12))
def test_a_periodic_text_is_continued_exactly(word: list[int], count: int) -> None:
    tokens = (word * 20)[: 2 * len(word) + 3]
    at = len(tokens) % len(word)
    assert continuation(tokens, count) == (word[at:] + word * 20)[:count]


@brief
@given(texts, st.lists(st.integers(1, 6), max_size=10), st.integers(1, 6))
def test_an_index_that_grew_equals_one_built_anew(
    tokens: list[int], steps: list[int], count: int
) -> None:
    grown, end = NgramIndex(), 1
    for step in steps:
        end = min(end + step, len(tokens))
        assert grown.continuation(tokens[:end], count) == continuation(tokens[:end], count)


@brief
@given(texts, st.integers(1, 6))
def test_it_is_what_a_search_from_the_end_finds(tokens: list[int], count: int) -> None:
    def search() -> list[int]:
        for n in range(min(LONGEST_NGRAM, len(tokens)), 0, -1):
            for end in range(len(tokens) - 1, n - 1, -1):
                if tokens[end - n : end] == tokens[-n:]:
                    copied = list(tokens)
                    for step in range(count):
                        copied.append(copied[end + step])
                    return copied[len(tokens) :]
        return [tokens[-1]] * count

    assert continuation(tokens, count) == search()


def test_a_proposer_is_certain_and_forgets_the_text_before() -> None:
    proposer = LookupProposer(torch.device("cpu"))
    proposer.begin(torch.tensor([[1, 2, 3]]), Sampling())
    proposed, q = proposer.propose([1, 2, 3, 1], 2)
    assert proposed.tolist() == [[2, 3]] and q is None
    proposer.begin(torch.tensor([[5, 1]]), Sampling())
    assert proposer.propose([5, 1], 2)[0].tolist() == [[1, 1]]


def test_a_batch_is_not_speculated_on(tmp_path: Path) -> None:
    source = source_of(tmp_path, "gpt2")
    rung = SpeculateLookup()
    assert rung.reason_to_skip(build_of(source, tmp_path)) is None
    reason = rung.reason_to_skip(build_of(source, tmp_path, batch_size=2))
    assert reason is not None and "batch" in reason
    reason = rung.reason_to_skip(build_of(source, tmp_path, prompt_len=200, new_tokens=56))
    assert reason is not None and "context" in reason


def test_the_cost_model_hears_what_the_baselines_output_yields(tmp_path: Path) -> None:
    build = build_of(source_of(tmp_path, "gpt2"), tmp_path)
    expectation = Expectation(acceptance={"speculate_lookup": 1.7, "speculate_draft": 3.0})
    found = SpeculateLookup().expect(expectation, build)
    assert (found.proposed_tokens, found.accepted_per_pass) == (4, 1.7)
    assert SpeculateLookup().expect(Expectation(), build).accepted_per_pass is None
