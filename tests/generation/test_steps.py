"""The eager steps against one pass over the whole text."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.generation.tiny_builds import MODELS
from tests.models.tiny import MISTRAL, make_source, make_tokens
from topout.generation.steps import DecoderSteps
from topout.models.decoder import Decoder
from topout.models.load import load_decoder

LENGTH = 24


@pytest.fixture(scope="module", params=[*MODELS, "window"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    fields = (MODELS | {"window": MISTRAL})[request.param]
    return load_decoder(make_source(tmp_path_factory.mktemp("model"), fields))


def full_pass(model: Decoder, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(tokens, torch.arange(tokens.shape[1]))
    return logits


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3])
@torch.inference_mode()
def test_prefill_and_decode_equal_the_full_pass(model: Decoder, batch_size: int) -> None:
    tokens = make_tokens(model.config.vocab_size, batch_size, LENGTH)
    expected = full_pass(model, tokens)
    steps = DecoderSteps(model, batch_size, LENGTH)
    assert_same(steps.prefill(tokens[:, :10]), expected[:, 9])
    for at in range(10, LENGTH):
        assert_same(steps.decode_one_token(tokens[:, at : at + 1], at), expected[:, at])


@torch.inference_mode()
def test_a_prompt_of_one_token(model: Decoder) -> None:
    tokens = make_tokens(model.config.vocab_size, 2, 3)
    steps, expected = DecoderSteps(model, 2, 3), full_pass(model, tokens)
    assert_same(steps.prefill(tokens[:, :1]), expected[:, 0])
    assert_same(steps.extend(tokens[:, 1:], 1), expected[:, 1:])


@torch.inference_mode()
def test_a_new_prompt_forgets_the_last(model: Decoder) -> None:
    steps = DecoderSteps(model, 1, LENGTH)
    for length in (20, 5, 12):
        tokens = make_tokens(model.config.vocab_size, 1, length)
        assert_same(steps.prefill(tokens), full_pass(model, tokens)[:, -1])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=6))
def test_positions_are_overwritten_by_what_comes_later(
    model: Decoder, turns: list[tuple[int, int]]
) -> None:
    """Chunks of which the last tokens are taken back: each sees only what stands."""
    text = make_tokens(model.config.vocab_size, 1, 8)
    steps = DecoderSteps(model, 1, 64)
    with torch.inference_mode():
        steps.prefill(text)
        for number, (added, taken_back) in enumerate(turns):
            chunk = (make_tokens(model.config.vocab_size, 1, added) + number) % 199
            whole = torch.cat([text, chunk], dim=1)
            found = steps.extend(chunk, text.shape[1])
            assert_same(found, full_pass(model, whole)[:, -added:])
            text = whole[:, : max(8, whole.shape[1] - taken_back)]


def test_the_cache_has_the_models_type(tmp_path: Path) -> None:
    source = make_source(tmp_path, MODELS["gpt2"])
    steps = DecoderSteps(load_decoder(source, dtype=torch.bfloat16), 2, 10)
    assert steps.cache.keys[0].dtype == torch.bfloat16
    assert steps.cache.keys[0].shape[0] == 2
