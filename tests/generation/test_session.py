"""A plain session generates what its model expects, and scores with the same steps."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.generation.tiny_builds import MODELS, session_of, source_of
from tests.models.tiny import make_tokens
from topout.generation.session import DecoderSession, memory_bytes_of
from topout.models.architecture import total_parameters
from topout.models.config import architecture_of
from topout.models.load import load_decoder
from topout.models.source import ModelSource


@pytest.fixture(scope="module", params=list(MODELS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), request.param)


def plain(source: ModelSource, folder: Path, **changes: object) -> DecoderSession:
    session = session_of(source, folder, ["static_cache"], **changes)  # type: ignore[arg-type]
    assert isinstance(session, DecoderSession)
    return session


def greedy_text(source: ModelSource, prompt: Tensor, count: int) -> Tensor:
    """Token after token by whole passes, without a cache."""
    decoder, text = load_decoder(source), prompt
    with torch.inference_mode():
        for _ in range(count):
            logits = decoder(text, torch.arange(text.shape[1]))[:, -1]
            text = torch.cat([text, logits.argmax(dim=-1, keepdim=True)], dim=1)
    return text[:, prompt.shape[1] :]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_greedy_text(batch_size: int, source: ModelSource, tmp_path: Path) -> None:
    prompt = make_tokens(source.config.vocab_size, batch_size, 20)
    run = plain(source, tmp_path, batch_size=batch_size).generate(prompt, 24)
    assert torch.equal(run.tokens, greedy_text(source, prompt, 24))
    assert run.forward_passes == 23
    assert 0 < run.ttft_s < run.total_s


def test_the_rows_of_a_batch_are_independent(source: ModelSource, tmp_path: Path) -> None:
    prompts = make_tokens(source.config.vocab_size, 2, 20)
    together = plain(source, tmp_path, batch_size=2).generate(prompts, 16).tokens
    alone = plain(source, tmp_path)
    for row in range(2):
        assert torch.equal(
            alone.generate(prompts[row : row + 1], 16).tokens, together[row : row + 1]
        )


def test_a_second_run_is_as_the_first(source: ModelSource, tmp_path: Path) -> None:
    session = plain(source, tmp_path)
    prompt = make_tokens(source.config.vocab_size, 1, 20)
    first = session.generate(prompt, 24).tokens
    session.generate(make_tokens(source.config.vocab_size, 1, 15), 8)
    assert torch.equal(session.generate(prompt, 24).tokens, first)


def test_one_token_needs_no_decoding(source: ModelSource, tmp_path: Path) -> None:
    run = plain(source, tmp_path).generate(make_tokens(source.config.vocab_size, 1, 20), 1)
    assert run.tokens.shape == (1, 1) and run.forward_passes == 0


def test_sampled_text_depends_on_the_seed_alone(source: ModelSource, tmp_path: Path) -> None:
    session = plain(source, tmp_path, temperature=1.0, top_k=20)
    prompt = make_tokens(source.config.vocab_size, 1, 20)
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts.append(session.generate(prompt, 24).tokens.tolist())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("prompt_len", [1, 12, 23])
def test_scores_are_what_the_model_expects(
    prompt_len: int, source: ModelSource, tmp_path: Path
) -> None:
    text = make_tokens(source.config.vocab_size, 2, 24)
    session = plain(source, tmp_path, batch_size=2)
    with torch.inference_mode():
        expected = load_decoder(source)(text, torch.arange(24))[:, prompt_len - 1 : -1]
    for found in (session.score(text, prompt_len), session.score_at_once(text, prompt_len)):
        assert found.shape == (2, 24 - prompt_len, source.config.vocab_size)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_scores_of_a_bf16_model_are_in_fp32(source: ModelSource, tmp_path: Path) -> None:
    session = plain(source, tmp_path, dtype="bf16")
    text = make_tokens(source.config.vocab_size, 1, 24)
    assert session.score(text, 12).dtype == session.score_at_once(text, 12).dtype == torch.float32


def test_weights_are_counted_once(source: ModelSource, tmp_path: Path) -> None:
    parameters = 4 * total_parameters(
        architecture_of(source.config)
    )  # a tied head has none of its own
    found = plain(source, tmp_path).weight_bytes
    tables = found - parameters  # of the rotary positions
    assert 0 <= tables <= 0.1 * parameters
    halved = plain(source, tmp_path, dtype="bf16").weight_bytes
    assert found - halved == parameters // 2


def test_memory_is_that_of_parameters_and_buffers() -> None:
    layer = nn.Linear(8, 4)  # 32 weights and 4 biases in fp32
    layer.register_buffer("scales", torch.zeros(6, dtype=torch.bfloat16))
    assert memory_bytes_of(layer) == (32 + 4) * 4 + 6 * 2


def test_shared_storage_is_counted_once() -> None:
    tied, other = nn.Linear(8, 4, bias=False), nn.Linear(8, 4, bias=False)
    other.weight = tied.weight
    both = nn.ModuleList([tied, other])
    both.register_buffer("view", tied.weight.data[:2])
    assert memory_bytes_of(both) == 8 * 4 * 4
