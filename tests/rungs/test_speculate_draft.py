"""The draft's cache follows the accepted text, whatever was accepted."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.generation.tiny_builds import LONG_GPT2, MODELS, build_of, source_of
from tests.models.tiny import make_source
from topout.cost.predict import Expectation
from topout.generation.sampling import Sampling
from topout.generation.steps import DecoderSteps
from topout.models.decoder import Decoder
from topout.models.load import load_decoder
from topout.models.source import ModelSource
from topout.rungs.speculate_draft import DraftProposer, SpeculateDraft

CPU = torch.device("cpu")
COUNT = 4


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return load_decoder(source_of(tmp_path_factory.mktemp("draft"), request.param))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), "gpt2")


def proposer_of(model: Decoder) -> DraftProposer:
    return DraftProposer(DecoderSteps(model, 1, 256), CPU)


@torch.inference_mode()
def propose(proposer: DraftProposer, tokens: list[int]) -> tuple[list[int], Tensor | None]:
    proposed, q = proposer.propose(tokens, COUNT)
    assert proposed.shape == (1, COUNT)
    return proposed[0].tolist(), q


@torch.inference_mode()
def fresh_proposals(model: Decoder, tokens: list[int]) -> list[int]:
    """What a proposer that saw nothing else says of `tokens`."""
    proposer = proposer_of(model)
    proposer.begin(torch.tensor([tokens[:-1]]), Sampling())
    return propose(proposer, tokens)[0]


def test_proposals_are_the_drafts_own_greedy_text(model: Decoder) -> None:
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    with torch.inference_mode():
        for proposed in fresh_proposals(model, tokens):
            logits = model(torch.tensor([tokens]), torch.arange(len(tokens)))
            assert proposed == int(logits[0, -1].argmax())
            tokens = [*tokens, proposed]


# (how many proposals were accepted, the model's own token after them)
turns = st.lists(st.tuples(st.integers(0, COUNT), st.integers(0, 198)), min_size=1, max_size=8)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(turns)
def test_proposals_equal_those_of_a_fresh_proposer(
    model: Decoder, turns: list[tuple[int, int]]
) -> None:
    tokens = [3, 1, 4, 1, 5, 9]
    proposer = proposer_of(model)
    with torch.inference_mode():
        proposer.begin(torch.tensor([tokens[:-1]]), Sampling())
    for accepted, own in turns:
        proposed, q = propose(proposer, tokens)
        assert q is None
        assert proposed == fresh_proposals(model, tokens)
        tokens = [*tokens, *proposed[:accepted], own]


def test_a_new_prompt_forgets_the_text_before(model: Decoder) -> None:
    proposer = proposer_of(model)
    for tokens in ([3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1], [8, 2, 8, 1, 8]):
        with torch.inference_mode():
            proposer.begin(torch.tensor([tokens[:-1]]), Sampling())
        assert propose(proposer, tokens)[0] == fresh_proposals(model, tokens)


class StaleProposer(DraftProposer):
    """Wrong: believes that all it proposed was accepted."""

    def propose(self, tokens: list[int], count: int) -> tuple[Tensor, Tensor | None]:
        found = super().propose(tokens, count)
        self._filled += 1  # the position that is missing after a full acceptance
        return found


def test_a_missing_position_is_noticed(model: Decoder) -> None:
    tokens = [3, 1, 4, 1, 5, 9]
    proposer = StaleProposer(DecoderSteps(model, 1, 256), CPU)
    with torch.inference_mode():
        proposer.begin(torch.tensor([tokens[:-1]]), Sampling())
    differs = False
    for _ in range(8):
        proposed, _ = propose(proposer, tokens)
        differs |= proposed != fresh_proposals(model, tokens)
        tokens = [*tokens, *proposed, 7]
    assert differs


def test_a_sampled_proposal_comes_with_its_distributions(model: Decoder) -> None:
    torch.manual_seed(0)
    sampling = Sampling(temperature=1.0, top_k=5)
    proposer = proposer_of(model)
    tokens = [3, 1, 4, 1, 5, 9]
    with torch.inference_mode():
        proposer.begin(torch.tensor([tokens[:-1]]), sampling)
        proposed, q = propose(proposer, tokens)
        assert q is not None and q.shape == (COUNT, model.config.vocab_size)
        whole = torch.tensor([[*tokens, *proposed]])
        logits = model(whole, torch.arange(whole.shape[1]))[0, len(tokens) - 1 : -1]
    torch.testing.assert_close(q, sampling.probabilities(logits), atol=1e-4, rtol=1e-3)
    assert bool((q[torch.arange(COUNT), torch.tensor(proposed)] > 0).all())


# --- when it applies --------------------------------------------------------------------------


def test_it_needs_a_draft_of_the_same_tokens_and_one_sequence(
    source: ModelSource, tmp_path: Path
) -> None:
    rung = SpeculateDraft()
    assert rung.reason_to_skip(build_of(source, tmp_path, draft=source)) is None
    other = make_source(tmp_path / "other", LONG_GPT2 | {"vocab_size": 77})
    short = make_source(tmp_path / "short", LONG_GPT2 | {"n_positions": 48})
    for build, words in (
        (build_of(source, tmp_path), "--draft"),
        (build_of(source, tmp_path, draft=other), "77 tokens and the model 211"),
        (build_of(source, tmp_path, draft=short), "short has 48"),  # 20 + 24 + 5 = 49
        (build_of(source, tmp_path, draft=source, batch_size=2), "batch"),
        (build_of(source, tmp_path, draft=source, prompt_len=230), "context"),
    ):
        reason = rung.reason_to_skip(build)
        assert reason is not None and words in reason


def test_the_cost_model_hears_of_the_draft(source: ModelSource, tmp_path: Path) -> None:
    build = build_of(source, tmp_path, draft=source)
    found = SpeculateDraft().expect(Expectation(acceptance={"speculate_draft": 3.0}), build)
    assert (found.proposed_tokens, found.accepted_per_pass) == (4, 3.0)
    assert found.draft == source.config
