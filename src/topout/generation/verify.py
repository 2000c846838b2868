"""Whether a rung's output is still right: its logits and tokens beside those of a reference.

A position is *decided* when the reference's two best logits lie further apart than both can move
within the tolerance; only there must an exact rung choose the same token. What a near rung may
lose is judged in `topout.generation.quality`; here its decode is held to its own large pass.
"""

import math

import msgspec
import torch
from torch import Tensor
from torch.nn import functional

from topout.generation.reference import Reference, grouped, margins_of
from topout.generation.session import Session
from topout.measure.loss_rise import perplexity, rise_of, share_interval
from topout.records import Interval, OutputClass, Verification

LARGEST_LOSS = 100.0  # nats: a token of probability 1e-43
LEAST_DIVERGENCE = 1e-3  # nats per token that rounding to bf16 or int8 may make of one pass
_METHOD = "teacher-forced held-out text through the rung's own prefill and decode"


def verify(
    session: Session,
    reference: Reference,
    *,
    output_class: OutputClass,
    max_loss: float,
    batch_size: int,
    text_bytes: int,
    greedy: bool,
) -> Verification:
    """Compare a session with the reference under the rules of its output class.

    `exact`: every logit within the tolerance, the same token at every decided position, and the
    same greedy continuation up to the first undecided one. `near`: its decode says what its own
    large pass says, up to a divergence that costs `max_loss` of perplexity. `text_bytes` are the
    bytes that the scored tokens stand for.
    """
    count = reference.scored_tokens
    groups = grouped(reference.texts, reference.prompt_lens, count, batch_size)
    logits = torch.cat([session.score(rows, prompt_len) for rows, prompt_len in groups])
    for whose, scores in (("the baseline's", reference.logits), ("its", logits)):
        if not torch.isfinite(scores).all():
            return _not_comparable(f"one of {whose} logits is not finite", reference)
    figures = compare_logits(logits, reference, text_bytes)
    if greedy:
        prompts = torch.split(reference.prompts, batch_size)
        tokens = torch.cat([session.generate(rows, count).tokens for rows in prompts])
        divergence, compared = _first_decided_divergence(tokens, reference)
        figures = msgspec.structs.replace(
            figures, first_divergence=divergence, generated_tokens_compared=compared
        )
    if output_class == "exact":
        passed, reason = _judge_exact(figures, reference.tolerance)
        return judged(figures, passed, reason)
    at_once = torch.cat([session.score_at_once(rows, prompt_len) for rows, prompt_len in groups])
    if not torch.isfinite(at_once).all():
        return _not_comparable("one of its logits is not finite", reference)
    divergence_nats = float(torch.cat([*map(divergences, at_once, logits)]).mean())
    figures = msgspec.structs.replace(figures, decode_divergence=max(0.0, divergence_nats))
    return judged(figures, *_judge_decode(figures, max_loss))


def judged(figures: Verification, passed: bool, reason: str) -> Verification:
    """The figures with the verdict on them."""
    verdict = "right" if passed else "wrong"
    return msgspec.structs.replace(figures, passed=passed, verdict=verdict, reason=reason)


def _not_comparable(reason: str, reference: Reference) -> Verification:
    """Rejected without figures: what is not a number cannot be recorded either."""
    positions = reference.logits.shape[0] * reference.scored_tokens
    return Verification(
        method=_METHOD, passed=False, verdict="wrong", reason=reason, positions=positions
    )


def compare_logits(logits: Tensor, reference: Reference, text_bytes: int) -> Verification:
    """The figures of a comparison, not yet judged; logits [W, T, V]."""
    of_windows: list[Tensor] = []
    losses, reference_losses = [], []
    for window, (ours, theirs) in enumerate(zip(logits, reference.logits, strict=True)):
        targets = reference.targets(window)
        of_windows.append(divergences(theirs, ours))
        losses.append(functional.cross_entropy(ours.double(), targets))
        reference_losses.append(functional.cross_entropy(theirs.double(), targets))
    loss = float(torch.stack(losses).mean())
    rise = loss - float(torch.stack(reference_losses).mean())
    decided = margins_of(reference.logits) > 2 * reference.tolerance
    same = logits.argmax(dim=-1) == reference.logits.argmax(dim=-1)
    decided_count, positions = int(decided.sum()), decided.numel()
    right = int(same[decided].sum())
    divergence = rise_of([each.numpy() for each in of_windows])
    low, high = divergence.interval()
    return Verification(
        method=_METHOD,
        passed=False,
        reason="not judged",
        positions=positions,
        decided_positions=decided_count,
        token_agreement=right / decided_count if decided_count else None,
        agreement_interval=share_interval(right, decided_count) if decided_count else None,
        rounding_noise=reference.noise,
        max_logit_error=float((logits - reference.logits).abs().max()),
        kl_divergence=max(0.0, divergence.mean),
        kl_interval=Interval(low=max(0.0, low), high=high) if math.isfinite(high) else None,
        perplexity=perplexity(loss),
        perplexity_ratio=perplexity(rise),
        bits_per_byte=loss / math.log(2) * positions / max(1, text_bytes),
    )


def divergences(of: Tensor, by: Tensor) -> Tensor:
    """KL divergence in nats of each position [T] of one distribution by another; logits [T, V]."""
    log_p = torch.log_softmax(of.double(), dim=-1)
    log_q = torch.log_softmax(by.double(), dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _first_decided_divergence(tokens: Tensor, reference: Reference) -> tuple[int | None, int]:
    """(position of the first differing token where the reference was decided, tokens compared).

    A row is compared up to its first difference: behind it the two texts are no longer the same.
    """
    compared = 0
    worst: int | None = None
    for ours, theirs, margins in zip(
        tokens, reference.greedy, reference.greedy_margins, strict=True
    ):
        differs = (ours != theirs).nonzero()
        if differs.numel() == 0:
            compared += len(theirs)
            continue
        at = int(differs[0])
        compared += at + 1
        if float(margins[at]) > 2 * reference.tolerance:
            worst = at if worst is None else min(worst, at)
    return worst, compared


def _judge_exact(figures: Verification, tolerance: float) -> tuple[bool, str]:
    assert figures.max_logit_error is not None
    if figures.max_logit_error > tolerance:
        return False, (
            f"a logit is off by {figures.max_logit_error:.3g}; rounding explains {tolerance:.3g}"
        )
    if figures.token_agreement is not None and figures.token_agreement < 1:
        return False, f"{1 - figures.token_agreement:.2%} of the decided tokens differ"
    if figures.first_divergence is not None:
        return False, f"the generated text differs from token {figures.first_divergence} on"
    return True, (
        f"same tokens at all {figures.decided_positions} decided positions of "
        f"{figures.positions}; largest logit error {figures.max_logit_error:.2g}"
    )


def _judge_decode(figures: Verification, max_loss: float) -> tuple[bool, str]:
    assert figures.decode_divergence is not None
    allowed = max(math.log1p(max_loss), LEAST_DIVERGENCE)
    stated = (
        f"its decode lies {figures.decode_divergence:.2g} nats per token from its own large pass"
    )
    if figures.decode_divergence > allowed:
        return False, f"{stated}, and rounding explains {allowed:.2g}"
    return True, stated


def row_losses(session: Session, rows: Tensor) -> Tensor:
    """Rows [R, L] → the loss of each token but the first [R, L − 1] fp32, from large passes.

    One that is not a number counts as `LARGEST_LOSS`, which no rung is forgiven.
    """
    losses = [
        functional.cross_entropy(session.score_at_once(row[None], 1)[0], row[1:], reduction="none")
        for row in rows
    ]
    return torch.stack(losses).nan_to_num(LARGEST_LOSS, LARGEST_LOSS).clamp(max=LARGEST_LOSS)
