"""Whether a rung's output is still right: its logits and tokens beside those of a reference.

A reference is what a session expects at every position of held-out text (teacher-forced), what it
generates greedily, and how far two evaluations of it differ by rounding alone (`noise`). A
position is *decided* when the reference's two best logits lie further apart than both can move
within the tolerance; only there must an exact rung choose the same token.
"""

import math
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from topout.generation.session import Session
from topout.records import OutputClass, Verification

# An exact rung may sum in another order than the two evaluations that gave `noise` did; over
# hundreds of layers' sums the largest of many thousand errors scatters by such a factor.
NOISE_MARGIN = 16.0
LEAST_RELATIVE_NOISE = 1e-6  # of the largest logit: a few units in the last place of fp32
LEAST_RELATIVE_NOISE_BF16 = 2**-9  # half a unit in the last place of bf16
LEAST_P_VALUE = 1e-4
LARGEST_LOSS = 100.0  # nats: a token of probability 1e-43
SAMPLED_DRAWS = 400
_LEAST_EXPECTED_DRAWS = 5.0
_LARGEST_EXPONENT = 700.0  # e to this is still a double
_METHOD = "teacher-forced held-out text through the rung's own prefill and decode"


class Reference(msgspec.Struct, frozen=True):
    """Texts [W, S + T], logits [W, T, V] fp32, greedy tokens [W, T] and margins [W, T]."""

    texts: Tensor
    prompt_len: int
    logits: Tensor
    greedy: Tensor
    greedy_margins: Tensor
    noise: float

    @property
    def tolerance(self) -> float:
        """How far a logit of an exact rung may lie from the reference's."""
        largest = float(self.logits.abs().max())
        return NOISE_MARGIN * max(self.noise, LEAST_RELATIVE_NOISE * largest)

    def save(self, path: Path) -> None:
        """Write to a safetensors file."""
        tensors = {
            "texts": self.texts,
            "logits": self.logits,
            "greedy": self.greedy,
            "greedy_margins": self.greedy_margins,
        }
        metadata = {"prompt_len": str(self.prompt_len), "noise": repr(self.noise)}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read what `save` wrote."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        return cls(
            prompt_len=int(metadata["prompt_len"]), noise=float(metadata["noise"]), **tensors
        )


def make_reference(session: Session, texts: Tensor, prompt_len: int, batch_size: int) -> Reference:
    """Score and continue each text [W, S + T] with a session, `batch_size` rows at a time."""
    count = texts.shape[1] - prompt_len
    logits = _score(session, texts, prompt_len, batch_size)
    greedy = _continue(session, texts[:, :prompt_len], count, batch_size)
    continued = torch.cat([texts[:, :prompt_len], greedy], dim=1)
    margins = _margins(_score(session, continued, prompt_len, batch_size))
    once = session.score_at_once(texts[:batch_size], prompt_len)
    noise = float((once - logits[:batch_size]).abs().max())
    if next(session.module.parameters()).dtype == torch.bfloat16:
        # So coarsely rounded, two evaluations may agree to the last bit by chance.
        noise = max(noise, LEAST_RELATIVE_NOISE_BF16 * float(logits.abs().max()))
    return Reference(
        texts=texts,
        prompt_len=prompt_len,
        logits=logits,
        greedy=greedy,
        greedy_margins=margins,
        noise=noise,
    )


def _score(session: Session, texts: Tensor, prompt_len: int, batch_size: int) -> Tensor:
    return torch.cat([session.score(rows, prompt_len) for rows in torch.split(texts, batch_size)])


def _continue(session: Session, prompts: Tensor, count: int, batch_size: int) -> Tensor:
    return torch.cat(
        [session.generate(rows, count).tokens for rows in torch.split(prompts, batch_size)]
    )


def _margins(logits: Tensor) -> Tensor:
    """Best logit minus second best [...]."""
    best = logits.topk(2, dim=-1).values
    return best[..., 0] - best[..., 1]


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
    same greedy continuation up to the first undecided one. `near`: perplexity at most `max_loss`
    above the reference's, of the held-out text and of text that the reference itself would write
    (that rise is exp(KL divergence) − 1): without trained weights the held-out text means nothing,
    and a ruined model would pass. `text_bytes` are the bytes that the scored tokens stand for.
    """
    logits = _score(session, reference.texts, reference.prompt_len, batch_size)
    for whose, scores in (("the baseline's", reference.logits), ("its", logits)):
        if not torch.isfinite(scores).all():
            return _not_comparable(f"one of {whose} logits is not finite", reference)
    figures = compare_logits(logits, reference, text_bytes)
    if greedy:
        prompts = reference.texts[:, : reference.prompt_len]
        tokens = _continue(session, prompts, reference.greedy.shape[1], batch_size)
        divergence, compared = _first_decided_divergence(tokens, reference)
        figures = msgspec.structs.replace(
            figures, first_divergence=divergence, generated_tokens_compared=compared
        )
    passed, reason = _judge(figures, reference.tolerance, output_class, max_loss)
    return msgspec.structs.replace(figures, passed=passed, reason=reason)


def _not_comparable(reason: str, reference: Reference) -> Verification:
    """Rejected without figures: what is not a number cannot be recorded either."""
    positions = reference.texts[:, reference.prompt_len :].numel()
    return Verification(method=_METHOD, passed=False, reason=reason, positions=positions)


def compare_logits(logits: Tensor, reference: Reference, text_bytes: int) -> Verification:
    """The figures of a comparison, not yet judged; logits [W, T, V]."""
    targets = reference.texts[:, reference.prompt_len :]
    log_p = torch.log_softmax(reference.logits.double(), dim=-1)
    log_q = torch.log_softmax(logits.double(), dim=-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()
    loss_p = -log_p.gather(-1, targets[..., None]).mean()
    loss_q = -log_q.gather(-1, targets[..., None]).mean()
    decided = _margins(reference.logits) > 2 * reference.tolerance
    same = logits.argmax(dim=-1) == reference.logits.argmax(dim=-1)
    decided_count = int(decided.sum())
    return Verification(
        method=_METHOD,
        passed=False,
        reason="not judged",
        positions=targets.numel(),
        decided_positions=decided_count,
        token_agreement=float(same[decided].double().mean()) if decided_count else None,
        rounding_noise=reference.noise,
        max_logit_error=float((logits - reference.logits).abs().max()),
        kl_divergence=max(0.0, float(kl)),
        perplexity=math.exp(min(_LARGEST_EXPONENT, float(loss_q))),
        perplexity_ratio=math.exp(min(_LARGEST_EXPONENT, float(loss_q - loss_p))),
        bits_per_byte=float(loss_q) / math.log(2) * targets.numel() / max(1, text_bytes),
    )


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


def _judge(
    figures: Verification, tolerance: float, output_class: OutputClass, max_loss: float
) -> tuple[bool, str]:
    assert figures.max_logit_error is not None and figures.perplexity_ratio is not None
    assert figures.kl_divergence is not None
    if output_class == "near":
        loss = figures.perplexity_ratio - 1
        if loss > max_loss:
            return False, (
                f"held-out perplexity rises by {loss:.2%}, and at most {max_loss:.2%} is allowed"
            )
        own_loss = math.expm1(min(_LARGEST_EXPONENT, figures.kl_divergence))
        if own_loss > max_loss:
            return False, (
                f"perplexity of text as the baseline writes it rises by {own_loss:.2%}, and at "
                f"most {max_loss:.2%} is allowed"
            )
        return True, f"held-out perplexity changes by {loss:+.2%} (allowed {max_loss:.2%})"
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


def row_losses(session: Session, rows: Tensor) -> Tensor:
    """Rows [R, L] → the loss of each token but the first [R, L − 1] fp32, from large passes.

    One that is not a number counts as `LARGEST_LOSS`, which no rung is forgiven.
    """
    losses = [
        functional.cross_entropy(session.score_at_once(row[None], 1)[0], row[1:], reduction="none")
        for row in rows
    ]
    return torch.stack(losses).nan_to_num(LARGEST_LOSS, LARGEST_LOSS).clamp(max=LARGEST_LOSS)


def verify_draws(verification: Verification, counts: Tensor, probabilities: Tensor) -> Verification:
    """Also require that draws with these counts [V] come from the model's `probabilities` [V]."""
    p_value = chi_square_p_value(counts, probabilities)
    checked = msgspec.structs.replace(verification, p_value=p_value)
    if p_value >= LEAST_P_VALUE:
        return checked
    reason = (
        f"{int(counts.sum())} sampled tokens do not follow the model's distribution "
        f"(p = {p_value:.1g})"
    )
    return msgspec.structs.replace(checked, passed=False, reason=reason)


def chi_square_p_value(counts: Tensor, probabilities: Tensor) -> float:
    """P-value that draws with these counts [V] come from `probabilities` [V].

    Tokens with fewer than 5 expected draws are pooled (Cochran's rule), and a pool that is still
    smaller joins the rarest of the others: one draw of a token of probability 1e-5 is no proof. A
    draw of a token of probability 0 gives 0. The survival function of chi-square with f degrees of
    freedom at x is the regularized upper incomplete gamma function Q(f/2, x/2).
    """
    counts, probabilities = counts.double(), probabilities.double()
    if bool((counts[probabilities == 0] > 0).any()):
        return 0.0
    expected = probabilities / probabilities.sum() * counts.sum()
    common = expected >= _LEAST_EXPECTED_DRAWS
    rare = torch.stack([counts[~common].sum(), expected[~common].sum()])
    bins = torch.stack([counts[common], expected[common]])  # [2, tokens]
    if float(rare[1]) >= _LEAST_EXPECTED_DRAWS:
        bins = torch.cat([bins, rare[:, None]], dim=1)
    elif bins.shape[1]:
        bins[:, bins[1].argmin()] += rare
    if bins.shape[1] < 2:
        return 1.0
    statistic = ((bins[0] - bins[1]) ** 2 / bins[1]).sum()
    freedom = torch.tensor((bins.shape[1] - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))
