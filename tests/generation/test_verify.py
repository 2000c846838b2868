"""A right output passes, and every kind of wrong one is turned down with its reason."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.generation.tiny_builds import MODELS, session_of, source_of
from topout.generation.quality import judged_by_distance
from topout.generation.reference import NOISE_MARGIN, Reference, make_reference
from topout.generation.sampling import Sampling
from topout.generation.session import DecoderSession, GeneratedRun
from topout.generation.steps import DecoderSteps
from topout.generation.verify import LEAST_DIVERGENCE, verify
from topout.models.load import load_decoder
from topout.models.source import ModelSource
from topout.records import OutputClass, Verification, encode

CPU = torch.device("cpu")
PROMPT_LEN = 4
V = 5


class ScriptedSession:
    """Says what it is told to say: logits [W, T, V] and tokens [W, T]."""

    weight_bytes = 0

    def __init__(self, logits: Tensor, tokens: Tensor, at_once: Tensor | None = None) -> None:
        self.logits, self.tokens = logits, tokens
        self._at_once = logits if at_once is None else at_once
        self._scored = self._scored_at_once = self._generated = 0

    def generate(self, prompt: Tensor, new_tokens: int) -> GeneratedRun:
        rows = slice(self._generated, self._generated + len(prompt))
        self._generated += len(prompt)
        return GeneratedRun(self.tokens[rows, :new_tokens], 0.1, 0.2, new_tokens - 1)

    def score(self, text: Tensor, prompt_len: int) -> Tensor:
        rows = slice(self._scored, self._scored + len(text))
        self._scored += len(text)
        return self.logits[rows]

    def score_at_once(self, text: Tensor, prompt_len: int) -> Tensor:
        rows = slice(self._scored_at_once, self._scored_at_once + len(text))
        self._scored_at_once += len(text)
        return self._at_once[rows]


def reference_of(
    logits: Tensor, *, noise: float = 0.01, margins: Tensor | None = None
) -> Reference:
    """A reference in which the text and the greedy continuation are the likeliest tokens."""
    best = logits.argmax(dim=-1)
    top = logits.topk(2, dim=-1).values
    texts = torch.cat([torch.zeros(len(best), PROMPT_LEN, dtype=torch.int64), best], dim=1)
    return Reference(
        texts=texts,
        prompt_lens=[PROMPT_LEN] * len(best),
        logits=logits,
        greedy=best,
        greedy_margins=top[..., 0] - top[..., 1] if margins is None else margins,
        noise=noise,
    )


def judged(
    reference: Reference,
    *,
    logits: Tensor | None = None,
    tokens: Tensor | None = None,
    output_class: OutputClass = "exact",
    max_loss: float = 0.01,
    greedy: bool = True,
    text_bytes: int = 12,
) -> Verification:
    """The verification of a session that says this, or else what the reference says."""
    session = ScriptedSession(
        reference.logits if logits is None else logits,
        reference.greedy if tokens is None else tokens,
    )
    found = verify(
        session,
        reference,
        output_class=output_class,
        max_loss=max_loss,
        batch_size=1,
        text_bytes=text_bytes,
        greedy=greedy,
    )
    encode(found)  # whatever is found can be recorded
    return found


@pytest.fixture
def logits() -> Tensor:
    """[2 windows, 3 positions, 5 tokens]; the best leads by 3, in one position by 0.1."""
    rows = torch.zeros(2, 3, V)
    rows[..., 2] = 3.0
    rows[1, 1, 4] = 2.9
    return rows


# --- exact ------------------------------------------------------------------------------------


def test_the_same_output_passes(logits: Tensor) -> None:
    found = judged(reference_of(logits))
    assert found.passed
    assert found.positions == 6
    # Tolerance 16 · 0.01 = 0.16, so that a lead of 0.32 decides: all but the one of 0.1.
    assert found.decided_positions == 5
    assert "5 decided positions of 6" in found.reason
    assert found.token_agreement == 1.0
    assert (found.max_logit_error, found.kl_divergence, found.perplexity_ratio) == (0.0, 0.0, 1.0)
    assert found.generated_tokens_compared == 6
    assert found.first_divergence is None


def test_the_figures_by_hand(logits: Tensor) -> None:
    found = judged(reference_of(logits))
    # −log softmax: five positions ln(1 + 4·e⁻³), one ln(1 + e^−0.1 + 3·e⁻³), in nats.
    loss = (
        5 * math.log(1 + 4 * math.exp(-3)) + math.log(1 + math.exp(-0.1) + 3 * math.exp(-3))
    ) / 6
    assert found.perplexity == pytest.approx(math.exp(loss))
    # 6 tokens stand for 12 bytes.
    assert found.bits_per_byte == pytest.approx(loss / math.log(2) * 6 / 12)


def test_rounding_within_the_tolerance_passes(logits: Tensor) -> None:
    reference = reference_of(logits)
    assert reference.tolerance == pytest.approx(NOISE_MARGIN * 0.01)
    assert judged(reference, logits=logits + 0.15).passed


def test_a_logit_beyond_the_tolerance_is_rejected(logits: Tensor) -> None:
    wrong = logits.clone()
    wrong[1, 2, 0] += 0.2
    found = judged(reference_of(logits), logits=wrong)
    assert not found.passed
    assert "a logit is off by 0.2; rounding explains 0.16" in found.reason


def test_another_token_at_a_decided_position_is_rejected(logits: Tensor) -> None:
    # With a noise of 0.09 the tolerance is 1.44, and a lead of 3 is decided (2.88 suffices). Both
    # logits move by 1.43 towards each other, and stay in their order …
    reference = reference_of(logits, noise=0.09)
    moved = logits.clone()
    moved[0, 0, 2], moved[0, 0, 0] = 1.57, 1.43
    assert judged(reference, logits=moved).passed
    # … as they always do: only if the logits' own check were missing could another token win.
    moved[0, 0, 2], moved[0, 0, 0] = 1.43, 1.57
    found = judged(reference, logits=moved)
    assert not found.passed
    assert found.token_agreement == 4 / 5


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_wrong_greedy_token_at_a_decided_position_is_rejected(
    logits: Tensor, position: int
) -> None:
    tokens = reference_of(logits).greedy.clone()
    tokens[0, position] = 4
    found = judged(reference_of(logits), tokens=tokens)
    assert not found.passed
    assert found.first_divergence == position
    assert f"differs from token {position} on" in found.reason
    assert found.generated_tokens_compared == position + 1 + 3


def test_a_wrong_greedy_token_at_a_tie_is_accepted_with_all_that_follows(logits: Tensor) -> None:
    tokens = reference_of(logits).greedy.clone()
    tokens[1, 1:] = torch.tensor([4, 0])  # behind the difference the texts are no longer the same
    found = judged(reference_of(logits), tokens=tokens)
    assert found.passed
    assert found.first_divergence is None
    assert found.generated_tokens_compared == 3 + 2


def test_the_first_divergence_is_the_earliest_of_all_rows(logits: Tensor) -> None:
    tokens = reference_of(logits).greedy.clone()
    tokens[0, 2] = 0
    tokens[1, 0] = 0
    assert judged(reference_of(logits), tokens=tokens).first_divergence == 0


def test_sampled_text_is_not_compared(logits: Tensor) -> None:
    tokens = reference_of(logits).greedy + 1
    found = judged(reference_of(logits), tokens=tokens % V, greedy=False)
    assert found.passed
    assert found.generated_tokens_compared is None


def test_undecided_positions_have_no_agreement() -> None:
    found = judged(reference_of(torch.zeros(1, 3, V)))
    assert found.passed
    assert (found.decided_positions, found.token_agreement) == (0, None)


def test_without_noise_the_last_places_of_fp32_are_allowed() -> None:
    logits = torch.zeros(1, 2, V)
    logits[..., 1] = 100.0
    reference = reference_of(logits, noise=0.0)
    assert reference.tolerance == pytest.approx(16 * 1e-6 * 100)
    assert judged(reference, logits=logits + 1e-3).passed
    assert not judged(reference, logits=logits + 2e-3).passed


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("output_class", ["exact", "near"])
def test_a_logit_that_is_no_number_is_rejected(
    logits: Tensor, bad: float, output_class: OutputClass
) -> None:
    wrong = logits.clone()
    wrong[0, 1, 3] = bad
    found = judged(reference_of(logits), logits=wrong, output_class=output_class, max_loss=1e9)
    assert not found.passed
    assert found.reason == "one of its logits is not finite"
    assert found.positions == 6
    against = judged(reference_of(wrong), logits=logits, output_class=output_class, max_loss=1e9)
    assert not against.passed
    assert "baseline" in against.reason


def test_huge_losses_stay_recordable(logits: Tensor) -> None:
    wrong = logits.clone()
    wrong[..., 2] = -1e30
    for output_class in ("exact", "near"):
        found = judged(reference_of(logits), logits=wrong, output_class=output_class)
        assert found.passed == (output_class == "near")  # whose loss is judged elsewhere
        assert found.perplexity is not None and found.perplexity > 1e300


# --- near -------------------------------------------------------------------------------------


def flatter(logits: Tensor, factor: float) -> tuple[Tensor, float, float]:
    """Logits times `factor`, and what that does to two perplexities: of the likeliest tokens, and
    of text that is drawn from the given logits."""
    log_p = torch.log_softmax(logits.double(), -1)
    log_q = torch.log_softmax(logits.double() * factor, -1)
    likeliest = (log_p - log_q).gather(-1, logits.argmax(-1, keepdim=True)).mean()
    drawn = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    return logits * factor, math.expm1(float(likeliest)), math.expm1(float(drawn))


def test_the_distance_of_distributions_by_hand(logits: Tensor) -> None:
    flat, loss, drawn_loss = flatter(logits, 0.98)
    found = judged(reference_of(logits), logits=flat, output_class="near")
    assert found.perplexity_ratio == pytest.approx(1 + loss)
    assert found.kl_divergence == pytest.approx(math.log1p(drawn_loss), rel=1e-4)
    assert found.kl_interval is not None
    assert found.kl_interval.low <= found.kl_divergence <= found.kl_interval.high
    # Of 5 decided tokens all agree; Wilson's interval of 5 of 5 begins at 1 / (1 + 1.96² / 5).
    assert found.agreement_interval is not None
    assert found.agreement_interval.low == pytest.approx(1 / (1 + 1.959964**2 / 5))
    assert found.agreement_interval.high == pytest.approx(1.0)


def test_near_decode_is_held_to_its_own_large_pass(logits: Tensor) -> None:
    """Whatever the reference says: a cache that is read wrongly shows against the same weights."""
    flat, _, _ = flatter(logits, 0.5)
    same = ScriptedSession(flat, reference_of(logits).greedy)
    assert near(same, logits).decode_divergence == 0.0
    assert near(same, logits).passed
    broken, _, drawn_loss = flatter(logits, 0.9)
    off = math.log1p(drawn_loss)  # of the large pass by the decode
    wrong = near(ScriptedSession(broken, reference_of(logits).greedy, at_once=logits), logits)
    assert wrong.decode_divergence == pytest.approx(off, rel=1e-4) and off > LEAST_DIVERGENCE
    assert not wrong.passed and wrong.verdict == "wrong"
    assert "from its own large pass, and rounding explains" in wrong.reason
    session = ScriptedSession(broken, reference_of(logits).greedy, at_once=logits)
    assert near(session, logits, max_loss=1.01 * math.expm1(off)).passed


def test_a_large_pass_that_is_no_number_is_rejected(logits: Tensor) -> None:
    bad = logits.clone()
    bad[1, 0, 0] = math.nan
    found = near(ScriptedSession(logits, reference_of(logits).greedy, at_once=bad), logits)
    assert not found.passed and "not finite" in found.reason


def test_near_may_say_something_else(logits: Tensor) -> None:
    tokens = (reference_of(logits).greedy + 1) % V
    found = judged(reference_of(logits), tokens=tokens, output_class="near")
    assert found.passed
    assert found.first_divergence == 0  # stated, and no reason to turn it down


def test_what_is_near_is_not_exact(logits: Tensor) -> None:
    flat, _, _ = flatter(logits, 0.9)
    reference = reference_of(logits)
    assert judged(reference, logits=flat, output_class="near").passed
    assert not judged(reference, logits=flat, output_class="exact").passed


def near(session: ScriptedSession, logits: Tensor, max_loss: float = 1e-4) -> Verification:
    """The verification of a near session; rows are said anew."""
    session._scored = session._scored_at_once = session._generated = 0
    found = verify(
        session,
        reference_of(logits),
        output_class="near",
        max_loss=max_loss,
        batch_size=1,
        text_bytes=12,
        greedy=True,
    )
    encode(found)
    return found


# --- real sessions ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=list(MODELS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def reference(source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What the baseline says of four windows of 12 + 10 tokens."""
    session = session_of(source, tmp_path_factory.mktemp("build"), [])
    generator = torch.Generator().manual_seed(1)
    texts = torch.randint(source.config.vocab_size, (4, 22), generator=generator)
    return make_reference(session, texts, [12] * 4, 10, 2)


def check(session: Any, reference: Reference, **options: Any) -> Verification:
    defaults = {
        "output_class": "exact",
        "max_loss": 0.01,
        "batch_size": 2,
        "text_bytes": 40,
        "greedy": True,
    }
    found = verify(session, reference, **(defaults | options))
    encode(found)
    return found


def test_another_implementation_of_the_same_model_is_exact(
    source: ModelSource, reference: Reference, tmp_path: Path
) -> None:
    session = session_of(source, tmp_path, ["static_cache"], batch_size=2)
    found = check(session, reference)
    assert found.passed, found.reason
    assert found.decided_positions is not None and found.decided_positions > 30
    assert found.generated_tokens_compared == 20


@pytest.mark.parametrize("rung", ["speculate_lookup", "speculate_draft"])
def test_speculation_is_exact(
    rung: str, source: ModelSource, reference: Reference, tmp_path: Path
) -> None:
    session = session_of(source, tmp_path, ["static_cache", rung], draft=source)
    assert check(session, reference, batch_size=1).passed


def test_a_perturbed_weight_is_not_exact(source: ModelSource, reference: Reference) -> None:
    model = load_decoder(source)
    model.blocks[0].mlp.down.weight.data[0, 0] += 0.02  # type: ignore[union-attr, operator]
    session = DecoderSession(DecoderSteps(model, 2, 64), Sampling(), CPU)
    found = check(session, reference)
    assert not found.passed
    assert "a logit is off" in found.reason
    # So small an error does no harm to the text, and as an inexact rung it passes.
    near = check(session, reference, output_class="near")
    assert near.passed
    assert judged_by_distance(near, 0.01, "the weights are random").passed


def test_a_ruined_model_is_not_even_near(source: ModelSource, reference: Reference) -> None:
    model = load_decoder(source)
    model.blocks[0].mlp.down.weight.data.zero_()  # type: ignore[union-attr, operator]
    session = DecoderSession(DecoderSteps(model, 2, 64), Sampling(), CPU)
    near = check(session, reference, output_class="near")
    assert near.passed  # it decodes as it says itself
    ruined = judged_by_distance(near, 0.01, "the weights are random")
    assert not ruined.passed and ruined.verdict == "wrong"
    assert "the weights are random, so nothing is proven of quality" in ruined.reason


def test_a_cache_that_is_read_wrongly_is_not_near(
    source: ModelSource, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefill is right, and so is the large pass: only the decode path is not."""
    session = DecoderSession(DecoderSteps(load_decoder(source), 2, 64), Sampling(), CPU)
    extend = session.steps.extend
    monkeypatch.setattr(session.steps, "extend", lambda tokens, at: extend(tokens, at - 1))
    found = check(session, reference, output_class="near")
    assert not found.passed and "its own large pass" in found.reason


def test_a_model_that_yields_nan_is_rejected(source: ModelSource, reference: Reference) -> None:
    model = load_decoder(source)
    model.norm.weight.data[3] = math.nan  # type: ignore[union-attr, operator]
    session = DecoderSession(DecoderSteps(model, 2, 64), Sampling(), CPU)
    found = check(session, reference)
    assert not found.passed
    assert "not finite" in found.reason
