"""A reference is what its session says of each window, and survives its file."""

import math
from pathlib import Path

import pytest
import torch

from tests.generation.tiny_builds import MODELS, session_of, source_of
from tests.models.tiny import make_tokens
from topout.errors import WeightsError
from topout.generation.reference import Reference, grouped, make_reference
from topout.generation.sampling import Sampling
from topout.generation.session import DecoderSession
from topout.generation.steps import DecoderSteps
from topout.models.load import load_decoder
from topout.models.source import ModelSource

CPU = torch.device("cpu")
LENS = [12, 12, 6, 6]  # of windows of 22 tokens, of which 10 behind them are scored


@pytest.fixture(scope="module", params=list(MODELS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def reference(source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What the baseline says of four windows, two at a time."""
    session = session_of(source, tmp_path_factory.mktemp("build"), [])
    generator = torch.Generator().manual_seed(1)
    texts = torch.randint(source.config.vocab_size, (4, 22), generator=generator)
    return make_reference(session, texts, LENS, 10, 2)


def test_windows_of_a_batch_are_cut_behind_their_scored_tokens() -> None:
    texts = torch.arange(40).reshape(4, 10)
    first, second = grouped(texts, [6, 6, 2, 2], 4, 2)
    assert (first[1], second[1]) == (6, 2)
    assert torch.equal(first[0], texts[:2]) and torch.equal(second[0], texts[2:, :6])


def test_logits_are_those_behind_each_prompt(source: ModelSource, reference: Reference) -> None:
    decoder = load_decoder(source)
    with torch.inference_mode():
        for window, prompt_len in enumerate(LENS):
            text = reference.texts[window]
            whole = decoder(text[None, :-1], torch.arange(21))[0]
            expected = whole[prompt_len - 1 : prompt_len + 9]
            torch.testing.assert_close(reference.logits[window], expected, atol=1e-3, rtol=1e-3)
            assert torch.equal(reference.targets(window), text[prompt_len : prompt_len + 10])


def test_the_greedy_text_is_of_the_first_batch(source: ModelSource, reference: Reference) -> None:
    assert reference.greedy.shape == reference.greedy_margins.shape == (2, 10)
    assert torch.equal(reference.prompts, reference.texts[:2, :12])
    # Rounding alone, of two ways to sum the same.
    assert 0 < reference.noise < 1e-4
    decoder = load_decoder(source)
    with torch.inference_mode():
        whole = torch.cat([reference.prompts, reference.greedy], dim=1)
        greedy = decoder(whole[:, :-1], torch.arange(21))[:, 11:]
    assert torch.equal(greedy.argmax(dim=-1), reference.greedy)
    best = greedy.topk(2, dim=-1).values
    torch.testing.assert_close(
        reference.greedy_margins, best[..., 0] - best[..., 1], atol=1e-3, rtol=1e-3
    )


def test_weights_that_are_no_numbers_are_refused_by_name(source: ModelSource) -> None:
    model = load_decoder(source)
    model.norm.weight.data[3] = math.nan  # type: ignore[union-attr, operator]
    session = DecoderSession(DecoderSteps(model, 1, 64), Sampling(), CPU)
    texts = make_tokens(source.config.vocab_size, 1, 20)
    with pytest.raises(WeightsError, match=r"^norm\.weight of the weights hold NaN or infinite"):
        make_reference(session, texts, [12], 8, 1)


def test_finite_weights_whose_logits_are_not_are_refused(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = DecoderSession(DecoderSteps(load_decoder(source), 1, 64), Sampling(), CPU)
    monkeypatch.setattr(session, "score_at_once", lambda *_: torch.full((1, 8, 3), math.inf))
    with pytest.raises(WeightsError, match="although its weights are"):
        make_reference(session, make_tokens(source.config.vocab_size, 1, 20), [12], 8, 1)


def test_in_bf16_half_a_unit_in_the_last_place_is_noise(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the two evaluations agree to the last bit."""
    model = load_decoder(source, dtype=torch.bfloat16)
    session = DecoderSession(DecoderSteps(model, 1, 64), Sampling(), CPU)
    monkeypatch.setattr(session, "score_at_once", session.score)
    texts = make_tokens(source.config.vocab_size, 1, 20)
    reference = make_reference(session, texts, [12], 8, 1)
    largest = float(reference.logits.abs().max())
    assert reference.noise == pytest.approx(largest / 512)
    # Of 8 significant bits the last one counts 1/128 to 1/256 of a value.
    assert reference.tolerance == pytest.approx(16 * largest / 512)


def test_a_reference_survives_its_file(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    reference.save(path)
    loaded = Reference.load(path)
    assert (loaded.prompt_lens, loaded.noise) == (LENS, reference.noise)
    for name in ("texts", "logits", "greedy", "greedy_margins"):
        assert torch.equal(getattr(loaded, name), getattr(reference, name))


def test_the_first_windows_are_what_they_are_alone(
    source: ModelSource, reference: Reference, tmp_path: Path
) -> None:
    path = tmp_path / "reference.safetensors"
    reference.first(2).save(path)
    found = Reference.load(path)
    alone = make_reference(session_of(source, tmp_path, []), reference.texts[:2], LENS[:2], 10, 2)
    assert (found.prompt_lens, found.noise) == (LENS[:2], alone.noise)
    for name in ("texts", "logits", "greedy", "greedy_margins"):
        assert torch.equal(getattr(found, name), getattr(alone, name))
