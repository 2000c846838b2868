"""The baseline says what our decoder says, and nothing of transformers' defaults leaks in."""

from pathlib import Path

import pytest
import torch

from tests.generation.tiny_builds import MODELS, session_of, source_of
from tests.models.tiny import GPT2, make_source, make_tokens
from topout.generation.draws import chi_square_p_value
from topout.generation.sampling import Sampling
from topout.generation.session import TransformersSession
from topout.models.load import load_transformers
from topout.models.source import ModelSource


@pytest.fixture(scope="module", params=list(MODELS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), request.param)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_it_generates_what_the_plain_decoder_generates(
    batch_size: int, source: ModelSource, tmp_path: Path
) -> None:
    prompt = make_tokens(source.config.vocab_size, batch_size, 20)
    baseline = session_of(source, tmp_path, [], batch_size=batch_size)
    plain = session_of(source, tmp_path, ["static_cache"], batch_size=batch_size)
    assert isinstance(baseline, TransformersSession)
    run = baseline.generate(prompt, 24)
    assert torch.equal(run.tokens, plain.generate(prompt, 24).tokens)
    assert run.forward_passes == 23
    assert 0 < run.ttft_s < run.total_s
    # The rotary tables differ, the parameters do not.
    assert baseline.weight_bytes == pytest.approx(plain.weight_bytes, rel=0.1)


def test_it_scores_what_the_plain_decoder_scores(source: ModelSource, tmp_path: Path) -> None:
    text = make_tokens(source.config.vocab_size, 2, 24)
    baseline = session_of(source, tmp_path, [], batch_size=2)
    expected = session_of(source, tmp_path, ["static_cache"], batch_size=2).score(text, 12)
    for found in (baseline.score(text, 12), baseline.score_at_once(text, 12)):
        assert found.shape == expected.shape and found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_an_end_token_ends_no_row(tmp_path: Path) -> None:
    """Every rung does the same work, whatever the model would rather say."""
    plain = make_source(tmp_path / "plain", GPT2)
    prompt = make_tokens(plain.config.vocab_size, 1, 12)
    text = session_of(plain, tmp_path, []).generate(prompt, 20).tokens
    ending = make_source(tmp_path / "ending", GPT2 | {"eos_token_id": int(text[0, 3])})
    run = session_of(ending, tmp_path, []).generate(prompt, 20)
    assert torch.equal(run.tokens, text)


@pytest.mark.parametrize("top_k", [None, 6])
def test_it_samples_from_the_distribution_that_is_asked_for(
    top_k: int | None, source: ModelSource
) -> None:
    """A temperature and top k, and no top p or penalty beside them."""
    torch.manual_seed(0)
    sampling = Sampling(temperature=0.7, top_k=top_k)
    model = load_transformers(source)
    model.generation_config.top_p = 0.5  # as some models' files ask for
    model.generation_config.repetition_penalty = 1.0
    session = TransformersSession(model, sampling, torch.device("cpu"))
    prompt = make_tokens(source.config.vocab_size, 1, 12)
    draws = session.generate(prompt.expand(1500, 12), 1).tokens[:, 0]
    own = sampling.probabilities(session.score(torch.cat([prompt, prompt], 1), 12)[:, 0])[0]
    counts = torch.bincount(draws, minlength=source.config.vocab_size)
    assert chi_square_p_value(counts, own) > 1e-3
    if top_k is not None:
        assert int((counts > 0).sum()) <= top_k
