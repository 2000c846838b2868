"""What a speculation will accept, foretold, against what it then accepts."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.generation.tiny_builds import MODELS, build_of, periodic_prompt, session_of, source_of
from topout.generation.session import Session
from topout.ladder.acceptance import (
    expected_tokens_per_pass,
    lookup_tokens_per_pass,
    passes_needed,
)
from topout.models.source import ModelSource

YES, NO = True, False


@pytest.mark.parametrize(
    ("right", "count", "passes"),
    [
        ([], 4, 0),
        ([NO], 4, 1),
        ([NO, NO, NO], 4, 3),  # each pass yields the model's own token
        ([YES, YES, YES, YES, NO], 4, 1),  # four and one more
        ([YES, YES, YES, YES, YES], 4, 1),
        ([YES] * 6, 4, 2),
        ([YES] * 10, 4, 2),
        ([YES] * 11, 4, 3),
        ([YES, NO, YES], 4, 2),  # one and the model's own in the place of the wrong; then the rest
        ([NO, YES, YES, NO], 1, 3),  # 1, then 1 + 1, then 1
        ([YES, YES, YES, YES], 1, 2),
    ],
)
def test_passes_by_hand(right: list[bool], count: int, passes: int) -> None:
    assert passes_needed(right, count) == passes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6))
def test_passes_lie_between_all_right_and_all_wrong(right: list[bool], count: int) -> None:
    passes = passes_needed(right, count)
    assert -(-len(right) // (count + 1)) <= passes <= len(right)
    assert passes_needed([True] * len(right), count) == -(-len(right) // (count + 1))
    assert passes_needed([False] * len(right), count) == len(right)


def test_a_periodic_continuation_is_foreseen_and_a_random_one_is_not() -> None:
    prompt = torch.tensor([[1, 2, 3, 1, 2, 3]])
    periodic = torch.tensor([[1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2]])
    # The first token is the prompt's; the other ten come in two passes of five.
    assert lookup_tokens_per_pass(prompt, periodic, 4) == 5.0
    fresh = torch.tensor([[1, 10, 11, 12, 13]])
    assert lookup_tokens_per_pass(prompt, fresh, 4) == 1.0
    # Together: 14 tokens in 2 + 4 passes; the texts are padded to one length for that.
    both = torch.tensor([[1, 2, 3, 1, 2], [1, 10, 11, 12, 13]])
    assert lookup_tokens_per_pass(prompt.repeat(2, 1), both, 4) == pytest.approx(8 / 5)


def prompts_of(vocab_size: int) -> torch.Tensor:
    return torch.cat([periodic_prompt(vocab_size, 20, period) for period in (3, 6, 19)])


def measured(session: Session, prompts: torch.Tensor, new_tokens: int) -> float:
    """Tokens after the first per pass, of real runs."""
    passes = sum(session.generate(row[None], new_tokens).forward_passes for row in prompts)
    return len(prompts) * (new_tokens - 1) / passes


@pytest.fixture(scope="module", params=list(MODELS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), request.param)


def plain_continuations(plain: Session, prompts: torch.Tensor, new_tokens: int) -> torch.Tensor:
    """What the plain session generates after each prompt [P, S]: [P, new_tokens]."""
    return torch.cat([plain.generate(prompt[None], new_tokens).tokens for prompt in prompts])


@pytest.mark.parametrize("rung", ["speculate_lookup", "speculate_draft"])
def test_what_was_foretold_comes_true(rung: str, source: ModelSource, tmp_path: Path) -> None:
    new_tokens = 60
    prompts = prompts_of(source.config.vocab_size)
    plain = session_of(source, tmp_path, ["static_cache"], new_tokens=new_tokens)
    continuations = plain_continuations(plain, prompts, new_tokens)
    draft = source_of(tmp_path, source.config.architecture, seed=1)
    foretold = expected_tokens_per_pass(
        prompts,
        continuations,
        build_of(source, tmp_path, draft=draft, new_tokens=new_tokens),
    )
    session = session_of(
        source, tmp_path, ["static_cache", rung], draft=draft, new_tokens=new_tokens
    )
    assert foretold[rung] == pytest.approx(measured(session, prompts, new_tokens))


def test_a_draft_that_is_the_model_is_always_right(source: ModelSource, tmp_path: Path) -> None:
    plain = session_of(source, tmp_path, ["static_cache"], new_tokens=26)
    prompts = prompts_of(source.config.vocab_size)
    continuations = plain_continuations(plain, prompts, 26)
    build = build_of(source, tmp_path, draft=source, new_tokens=26)
    # 25 tokens after the first, five per pass.
    found = expected_tokens_per_pass(prompts, continuations, build)
    assert found["speculate_draft"] == 5.0


def test_without_a_fitting_draft_only_the_lookup_is_foretold(
    source: ModelSource, tmp_path: Path
) -> None:
    plain = session_of(source, tmp_path, ["static_cache"])
    prompts = prompts_of(source.config.vocab_size)
    continuations = plain_continuations(plain, prompts, 5)
    found = expected_tokens_per_pass(prompts, continuations, build_of(source, tmp_path))
    assert set(found) == {"speculate_lookup"}
