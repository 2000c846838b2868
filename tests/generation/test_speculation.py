"""Speculation changes no output: greedy text token by token, sampled text in distribution."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.generation.tiny_builds import MODELS, build_of, periodic_prompt, session_of, source_of
from topout.generation import speculation
from topout.generation.draws import chi_square_p_value
from topout.generation.sampling import Sampling, draw
from topout.generation.session import DecoderSession
from topout.generation.speculation import SpeculativeSession, accept, accept_greedily
from topout.generation.steps import DecoderSteps
from topout.models.load import load_decoder
from topout.models.source import ModelSource
from topout.rungs.speculate_draft import DraftProposer
from topout.rungs.speculate_lookup import LookupProposer, no_room, not_one_sequence

Acceptor = Callable[[Tensor, Tensor | None, Tensor], list[int]]
CPU = torch.device("cpu")
COUNT = 3  # tokens proposed per pass
VOCAB = 6
DRAWS = 3000
UNLIKELY = 1e-4


# --- the acceptors by themselves --------------------------------------------------------------


def test_greedy_acceptance() -> None:
    assert accept_greedily([7, 8, 9], [7, 8, 9, 4]) == [7, 8, 9, 4]  # all, and one more
    assert accept_greedily([7, 8, 9], [7, 5, 9, 4]) == [7, 5]  # the model's own after the first
    assert accept_greedily([7, 8, 9], [1, 8, 9, 4]) == [1]  # what follows a wrong one is void
    assert accept_greedily([], [3]) == [3]


def distributions(rows: int, seed: int) -> Tensor:
    """Uneven distributions [rows, VOCAB], one token of the first row impossible."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(rows, VOCAB, generator=generator)
    logits[0, seed % VOCAB] = float("-inf")
    return torch.softmax(logits, dim=-1)


def p_values(acceptor: Acceptor, p: Tensor, propose: Callable[[], tuple[Tensor, Tensor | None]]):  # type: ignore[no-untyped-def]
    """Of each position, that what came out there is distributed as the model's own.

    Position i comes out when all before it were accepted, whatever they were, so it follows p[i].
    """
    counts = torch.zeros(COUNT + 1, VOCAB)
    for _ in range(DRAWS):
        proposed, q = propose()
        for position, token in enumerate(acceptor(proposed, q, p)):
            counts[position, token] += 1
    return [chi_square_p_value(counts[i], p[i]) for i in range(COUNT + 1)], counts


def drafted(seed: int) -> tuple[Tensor, Callable[[], tuple[Tensor, Tensor | None]]]:
    """The model's distributions, and proposals drawn from a draft's, which are others."""
    p, q = distributions(COUNT + 1, seed), distributions(COUNT, seed + 1)
    return p, lambda: (draw(q)[:, 0], q)


def looked_up(seed: int) -> tuple[Tensor, Callable[[], tuple[Tensor, Tensor | None]]]:
    """The model's distributions, and proposals that are the same each time."""
    p = distributions(COUNT + 1, seed)
    proposed = torch.tensor([int(p[i].topk(2).indices[i % 2]) for i in range(COUNT)])
    return p, lambda: (proposed, None)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("proposals", [drafted, looked_up])
def test_accepted_tokens_follow_the_models_distribution(proposals, seed: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    found, counts = p_values(accept, *proposals(seed))
    assert min(found) > UNLIKELY, found
    assert counts[-1].sum() > 20  # some proposals were accepted to the end


def test_equal_distributions_accept_everything() -> None:
    p = distributions(COUNT + 1, 4)
    for _ in range(50):
        proposed = draw(p[:COUNT])[:, 0]
        assert accept(proposed, p[:COUNT], p)[:COUNT] == proposed.tolist()


def test_what_the_model_excludes_is_never_accepted() -> None:
    p = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    for _ in range(50):
        assert accept(torch.tensor([0]), torch.tensor([[1.0, 0.0, 0.0]]), p)[0] in (1, 2)
        assert accept(torch.tensor([0]), None, p)[0] in (1, 2)


def one_hot(proposed: Tensor, q: Tensor | None, p: Tensor) -> Tensor:
    return (
        torch.zeros_like(p[: len(proposed)]).scatter_(1, proposed[:, None], 1.0) if q is None else q
    )


def accept_always(
    proposed: Tensor, q: Tensor | None, p: Tensor, generator: torch.Generator | None = None
) -> list[int]:
    """Wrong: the draft's distribution."""
    return [*proposed.tolist(), int(draw(p[-1]))]


def accept_and_redraw(
    proposed: Tensor, q: Tensor | None, p: Tensor, generator: torch.Generator | None = None
) -> list[int]:
    """Wrong: after a rejection it draws from p, not from what p has above q."""
    q = one_hot(proposed, q, p)
    for i, token in enumerate(proposed.tolist()):
        if torch.rand(()) >= p[i, token] / q[i, token]:
            return [*proposed[:i].tolist(), int(draw(p[i]))]
    return [*proposed.tolist(), int(draw(p[-1]))]


def accept_by_p(
    proposed: Tensor, q: Tensor | None, p: Tensor, generator: torch.Generator | None = None
) -> list[int]:
    """Wrong: accepts with p instead of p/q, which turns down too much."""
    q = one_hot(proposed, q, p)
    for i, token in enumerate(proposed.tolist()):
        if torch.rand(()) >= p[i, token]:
            residual = (p[i] - q[i]).clamp(min=0)
            return [*proposed[:i].tolist(), int(draw(residual))]
    return [*proposed.tolist(), int(draw(p[-1]))]


@pytest.mark.parametrize(
    ("acceptor", "proposals"),
    [
        (accept_always, drafted),
        (accept_always, looked_up),
        (accept_and_redraw, drafted),
        (accept_and_redraw, looked_up),
        (accept_by_p, drafted),
    ],
)
def test_a_wrong_acceptor_is_noticed(acceptor: Acceptor, proposals) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    found, _ = p_values(acceptor, *proposals(1))
    assert min(found) < UNLIKELY


# --- whole sessions ---------------------------------------------------------------------------


@pytest.fixture(scope="module", params=list(MODELS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def draft(source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """The same architecture with weights a little off: right about half of the time."""
    from safetensors.torch import load_file, save_file

    from topout.models.source import resolve_model

    assert source.folder is not None
    folder = tmp_path_factory.mktemp("draft")
    (folder / "config.json").write_text((source.folder / "config.json").read_text())
    torch.manual_seed(5)
    tensors = load_file(source.folder / "model.safetensors")
    noisy = {name: each + 0.01 * torch.randn_like(each) for name, each in tensors.items()}
    save_file(noisy, folder / "model.safetensors")
    return resolve_model(str(folder))


PROPOSERS = ["speculate_lookup", "speculate_draft"]


@pytest.mark.parametrize("rung", PROPOSERS)
def test_greedy_text_is_the_plain_sessions(
    rung: str, source: ModelSource, draft: ModelSource, tmp_path: Path
) -> None:
    new_tokens = 150
    plain = session_of(source, tmp_path, ["static_cache"], new_tokens=new_tokens)
    session = session_of(
        source, tmp_path, ["static_cache", rung], draft=draft, new_tokens=new_tokens
    )
    for period in (3, 19):
        prompt = periodic_prompt(source.config.vocab_size, 20, period)
        expected = plain.generate(prompt, new_tokens)
        found = session.generate(prompt, new_tokens)
        assert found.tokens.shape == (1, new_tokens)
        assert found.tokens.tolist() == expected.tokens.tolist()
        # Some proposals were right and some were wrong, so that both paths were walked.
        assert (new_tokens - 1) / 5 < found.forward_passes < new_tokens - 1
        assert 0 < found.ttft_s < found.total_s


@pytest.mark.parametrize("rung", PROPOSERS)
@pytest.mark.parametrize("new_tokens", [1, 2, 3, 7])
def test_a_short_text_has_just_its_tokens(
    rung: str, new_tokens: int, source: ModelSource, draft: ModelSource, tmp_path: Path
) -> None:
    prompt = periodic_prompt(source.config.vocab_size, 20)
    plain = session_of(source, tmp_path, ["static_cache"])
    session = session_of(source, tmp_path, ["static_cache", rung], draft=draft)
    expected = plain.generate(prompt, new_tokens).tokens
    assert torch.equal(session.generate(prompt, new_tokens).tokens, expected)


class ForgetfulSteps(DecoderSteps):
    """Wrong: keeps the rejected proposals in the cache."""

    def extend(self, tokens: Tensor, position: int) -> Tensor:
        start = self.cache.length
        logits: Tensor = self.model(
            tokens, self.positions[start : start + tokens.shape[1]], self.cache
        )
        return logits


def test_a_cache_that_is_not_rolled_back_is_noticed(source: ModelSource) -> None:
    model = load_decoder(source)
    prompt = periodic_prompt(source.config.vocab_size, 20, 19)
    texts = []
    for kind in (DecoderSteps, ForgetfulSteps):
        plain = DecoderSession(kind(model, 1, 256), Sampling(), CPU)
        session = SpeculativeSession(plain, LookupProposer(CPU))
        texts.append(session.generate(prompt, 30).tokens.tolist())
    assert texts[0] != texts[1]


@pytest.mark.parametrize("scored", [1, 2, 3, 5, 6, 7, 16])
def test_scores_are_the_plain_sessions(scored: int, source: ModelSource, tmp_path: Path) -> None:
    """Whatever is left over after whole chunks of five."""
    text = periodic_prompt(source.config.vocab_size, 12 + scored, 11)
    plain = session_of(source, tmp_path, ["static_cache"])
    session = session_of(source, tmp_path, ["static_cache", "speculate_lookup"])
    expected = plain.score(text, 12)
    assert expected.shape == (1, scored, source.config.vocab_size)
    torch.testing.assert_close(session.score(text, 12), expected, atol=1e-4, rtol=1e-4)
    at_once = session.score_at_once(text, 12)
    torch.testing.assert_close(at_once, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rung", PROPOSERS)
def test_the_first_sampled_token_follows_the_models_distribution(
    rung: str, source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What verification asks of a sampled speculation; a wrong acceptor does not pass it."""
    torch.manual_seed(3)
    other = source_of(tmp_path, source.config.architecture, seed=1)
    session = session_of(
        source, tmp_path, ["static_cache", rung], draft=other, temperature=1.0, top_k=8
    )
    assert isinstance(session, SpeculativeSession)
    context = periodic_prompt(source.config.vocab_size, 20, 4)
    counts, own = session.count_next_tokens(context, 300)
    assert counts.sum() == 300
    assert chi_square_p_value(counts, own) > UNLIKELY
    monkeypatch.setattr(speculation, "accept", accept_always)
    assert chi_square_p_value(*session.count_next_tokens(context, 100)) < UNLIKELY


def test_sampled_text_is_drawn_from_what_the_model_allows(
    source: ModelSource, tmp_path: Path
) -> None:
    """With one candidate per position, sampling is greedy, whatever is proposed."""
    torch.manual_seed(0)
    prompt = periodic_prompt(source.config.vocab_size, 20)
    greedy = session_of(source, tmp_path, ["static_cache"])
    sampled = session_of(
        source, tmp_path, ["static_cache", "speculate_lookup"], temperature=1.0, top_k=1
    )
    assert torch.equal(sampled.generate(prompt, 24).tokens, greedy.generate(prompt, 24).tokens)


def test_the_weights_of_a_draft_count(
    source: ModelSource, draft: ModelSource, tmp_path: Path
) -> None:
    plain = session_of(source, tmp_path, ["static_cache"])
    lookup = session_of(source, tmp_path, ["static_cache", "speculate_lookup"])
    drafted_session = session_of(source, tmp_path, ["static_cache", "speculate_draft"], draft=draft)
    assert isinstance(plain, DecoderSession)
    assert lookup.weight_bytes == plain.weight_bytes
    assert drafted_session.weight_bytes == 2 * plain.weight_bytes  # as large as the model here
    assert isinstance(drafted_session, SpeculativeSession)
    assert isinstance(drafted_session.proposer, DraftProposer)


def test_room_for_proposals_beyond_the_end(source: ModelSource, tmp_path: Path) -> None:
    # 20 of the prompt, 231 new, 4 proposals and the token before them: 256 of 256.
    assert no_room(build_of(source, tmp_path, new_tokens=231), source) is None
    reason = no_room(build_of(source, tmp_path, new_tokens=232), source)
    assert reason is not None and "257" in reason and "256" in reason


# --- exact passes and times, with a model that counts upward -----------------------------------


class CountingSteps:
    """After token t comes t + 1 of 100; waits before it answers, and notes what it was asked."""

    def __init__(self, prefill_s: float = 0.0, pass_s: float = 0.0) -> None:
        self.model = torch.nn.Module()
        self.prefill_s, self.pass_s = prefill_s, pass_s
        self.chunks: list[tuple[int, list[int]]] = []

    def prefill(self, prompt: Tensor) -> Tensor:
        time.sleep(self.prefill_s)
        return self._following(prompt[:, -1])

    def extend(self, tokens: Tensor, position: int) -> Tensor:
        time.sleep(self.pass_s)
        self.chunks.append((position, tokens[0].tolist()))
        return self._following(tokens)

    def _following(self, tokens: Tensor) -> Tensor:
        return torch.nn.functional.one_hot((tokens + 1) % 100, 100).float()


class PartlyRight:
    """Proposes so many tokens that are right, then wrong ones."""

    def __init__(self, right: int) -> None:
        self.right = right
        self.prompts: list[list[int]] = []

    def begin(self, prompt: Tensor, sampling: Sampling) -> None:
        self.prompts.append(prompt[0].tolist())

    def propose(self, tokens: list[int], count: int) -> tuple[Tensor, Tensor | None]:
        following = [tokens[-1] + 1 + place for place in range(count)]
        wrong = [0] * (count - self.right)
        return torch.tensor([[*following[: self.right], *wrong]]), None


def counting_session(steps: CountingSteps, right: int) -> SpeculativeSession:
    plain = DecoderSession(steps, Sampling(), CPU)  # type: ignore[arg-type]
    return SpeculativeSession(plain, PartlyRight(right), draft_bytes=7)


@pytest.mark.parametrize(
    ("right", "new_tokens", "passes"),
    [
        # One token comes from the prompt. Four right and one of the model's own: 12 = 5 + 5 + 2.
        (4, 13, 3),
        (4, 11, 2),  # 10 = 5 + 5
        (4, 12, 3),  # 11 = 5 + 5 + 1
        (2, 13, 4),  # 3 a pass
        (1, 4, 2),  # 3 = 2 + 1
        (0, 13, 12),  # the model's own alone
        (4, 1, 0),
    ],
)
def test_passes_of_a_known_proposer(right: int, new_tokens: int, passes: int) -> None:
    steps = CountingSteps()
    session = counting_session(steps, right)
    found = session.generate(torch.tensor([[5, 6, 7]]), new_tokens)
    assert found.tokens.tolist() == [list(range(8, 8 + new_tokens))]
    assert found.forward_passes == passes == len(steps.chunks)
    # The prompt ends at position 2; 8 follows at 3, and each pass begins at its last token.
    assert [position for position, _ in steps.chunks] == [
        3 + (right + 1) * number for number in range(passes)
    ]
    assert all(chunk[0] == position + 5 for position, chunk in steps.chunks)
    assert session.weight_bytes == 7


def test_times_lie_between_the_waits_and_a_clock_outside() -> None:
    session = counting_session(CountingSteps(prefill_s=0.05, pass_s=0.02), 4)
    began = time.perf_counter()
    found = session.generate(torch.tensor([[5, 6, 7]]), 13)
    outside = time.perf_counter() - began
    # A prefill of 50 ms, then 3 passes of 20 ms.
    assert found.ttft_s >= 0.05
    assert found.ttft_s + 3 * 0.02 <= found.total_s <= outside


@pytest.mark.parametrize(
    ("scored", "chunks"),
    [
        # The prefill's logits are the first; the last token of a text is not read.
        (1, []),
        (2, [(3, 1)]),
        (6, [(3, 5)]),
        # Five at once; the last five reach back over what was read before.
        (7, [(3, 5), (4, 5)]),
        (11, [(3, 5), (8, 5)]),
        (13, [(3, 5), (8, 5), (10, 5)]),
    ],
)
def test_chunks_of_a_scored_text(scored: int, chunks: list[tuple[int, int]]) -> None:
    steps = CountingSteps()
    text = torch.arange(5, 8 + scored)[None]
    found = counting_session(steps, 4).score(text, 3)
    assert found.argmax(dim=-1).tolist() == [list(range(8, 8 + scored))]
    assert [(position, len(chunk)) for position, chunk in steps.chunks] == chunks


def test_draws_follow_a_context_whose_last_token_is_read_again() -> None:
    steps = CountingSteps()
    session = counting_session(steps, 2)
    counts, own = session.count_next_tokens(torch.tensor([[5, 6, 7]]), 3)
    assert counts[8] == 3 and counts.sum() == 3
    assert own[8] == 1 and own.sum() == 1
    assert session.proposer.prompts == [[5, 6]]  # type: ignore[attr-defined]
    # The model's own distribution first, then three draws, all from the last token at position 2.
    assert steps.chunks == [(2, [7] * 5), *[(2, [7, 8, 9, 0, 0])] * 3]


def test_a_batch_cannot_speculate(source: ModelSource, tmp_path: Path) -> None:
    assert not_one_sequence(build_of(source, tmp_path)) is None
    reason = not_one_sequence(build_of(source, tmp_path, batch_size=2))
    assert reason is not None and "one sequence at a time" in reason
