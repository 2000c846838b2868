"""Whether the outputs of one pass are still right, beside those of the baseline.

How far rounding alone moves them is measured: the same module in fp64 gives other outputs by that.
"""

import copy
import math
from pathlib import Path

import msgspec
import torch
from torch import Tensor
from torch.nn import functional

from topout.generation.pass_session import PassSession, positions_of
from topout.generation.reference import (
    load_with_noise,
    margins_of,
    not_finite,
    rounding_noise,
    save_with_noise,
    tolerance_of,
)
from topout.generation.verify import divergences, judged
from topout.measure.loss_rise import perplexity_rise, rise_of, share_interval
from topout.records import Interval, OutputClass, Verification

MOST_ELEMENTS = 1 << 25  # of the outputs that are kept: of long sequences some positions are
_METHOD = "outputs of passes over held-out input"


class PassReference(msgspec.Struct, frozen=True):
    """Inputs [W, …], outputs [W, P, O] fp32 at the positions [P], and the noise of rounding."""

    inputs: Tensor
    outputs: Tensor
    positions: Tensor
    noise: float

    @property
    def tolerance(self) -> float:
        """How far an output of an exact rung may lie from the reference's."""
        return tolerance_of(self.noise, self.outputs)

    def save(self, path: Path) -> None:
        """Write to a safetensors file."""
        tensors = {"inputs": self.inputs, "outputs": self.outputs, "positions": self.positions}
        save_with_noise(tensors, self.noise, path)

    @classmethod
    def load(cls, path: Path) -> "PassReference":
        """Read what `save` wrote."""
        tensors, noise = load_with_noise(path)
        return cls(noise=noise, **tensors)


def make_pass_reference(session: PassSession, inputs: Tensor, batch_size: int) -> PassReference:
    """What a session says of inputs [W, …], `batch_size` at a time; the first batch also in fp64.

    Raises WeightsError where weights or outputs are not finite.
    """
    batches = torch.split(inputs, batch_size)
    first = session.outputs(batches[0])
    kept = max(1, MOST_ELEMENTS // (len(inputs) * first.shape[-1]))
    positions = torch.linspace(0, first.shape[1] - 1, min(kept, first.shape[1])).long()
    outputs = torch.cat([session.outputs(each)[:, positions] for each in batches])
    if not torch.isfinite(outputs).all():
        raise not_finite(session.module)
    exact = _in_fp64(session, batches[0])
    noise = rounding_noise(session.module, float((first - exact).abs().max()), first)
    return PassReference(inputs, outputs, positions, noise)


@torch.inference_mode()
def _in_fp64(session: PassSession, inputs: Tensor) -> Tensor:
    """The outputs of the same weights with all arithmetic in fp64."""
    module = copy.deepcopy(session.module).double()
    device = next(module.parameters()).device
    x = inputs.to(device)
    output = module(x.double() if x.is_floating_point() else x)
    return positions_of(output).float().cpu()


def verify_pass(
    session: PassSession,
    reference: PassReference,
    *,
    output_class: OutputClass,
    max_loss: float,
    batch_size: int,
    gives_logits: bool,
) -> Verification:
    """Compare a session with the reference under the rules of its output class.

    `exact`: every output within what rounding explains, and the same label wherever the reference
    is decided. `near`: of logits, the divergence of the labels' distribution costs at most
    `max_loss` of perplexity; of hidden states, the cosine of each with the reference's is on
    average at least 1 − `max_loss`.
    """
    batches = torch.split(reference.inputs, batch_size)
    outputs = torch.cat([session.outputs(each)[:, reference.positions] for each in batches])
    counted = outputs.shape[0] * outputs.shape[1]
    if not torch.isfinite(outputs).all():
        reason = "one of its outputs is not finite"
        return Verification(
            method=_METHOD, passed=False, verdict="wrong", reason=reason, positions=counted
        )
    figures = Verification(
        method=_METHOD,
        passed=False,
        reason="not judged",
        positions=counted,
        rounding_noise=reference.noise,
        max_logit_error=float((outputs - reference.outputs).abs().max()),
    )
    if gives_logits and outputs.shape[-1] > 1:
        figures = _with_labels(figures, outputs, reference)
    else:
        figures = _with_cosines(figures, outputs, reference)
    if output_class == "exact":
        return _judge_exact(figures, reference.tolerance)
    return _judge_near(figures, max_loss)


def _with_labels(figures: Verification, outputs: Tensor, reference: PassReference) -> Verification:
    decided = margins_of(reference.outputs) > 2 * reference.tolerance
    same = outputs.argmax(-1) == reference.outputs.argmax(-1)
    right, count = int(same[decided].sum()), int(decided.sum())
    nats = [divergences(*pair).numpy() for pair in zip(reference.outputs, outputs, strict=True)]
    found = rise_of(nats)
    return msgspec.structs.replace(
        figures,
        decided_positions=count,
        token_agreement=right / count if count else None,
        agreement_interval=share_interval(right, count) if count else None,
        kl_divergence=max(0.0, found.mean),
        kl_interval=_bounded(*found.interval()),
    )


def _with_cosines(figures: Verification, outputs: Tensor, reference: PassReference) -> Verification:
    ours, theirs = outputs.double(), reference.outputs.double()
    distances = 1 - functional.cosine_similarity(ours, theirs, dim=-1)
    found = rise_of([each.numpy() for each in distances])
    return msgspec.structs.replace(
        figures,
        cosine_distance=max(0.0, found.mean),
        cosine_interval=_bounded(*found.interval()),
    )


def _bounded(low: float, high: float) -> Interval | None:
    return Interval(low=max(0.0, low), high=high) if math.isfinite(high) else None


def _judge_exact(figures: Verification, tolerance: float) -> Verification:
    assert figures.max_logit_error is not None
    error = figures.max_logit_error
    passed = error <= tolerance and figures.token_agreement in (None, 1.0)
    reason = f"largest difference of an output {error:.2g}; rounding explains {tolerance:.2g}"
    if figures.token_agreement is not None and figures.token_agreement < 1:
        reason = f"{1 - figures.token_agreement:.2%} of the decided labels differ; {reason}"
    elif figures.decided_positions:
        decided = f"{figures.decided_positions} decided positions of {figures.positions}"
        reason = f"same labels at all {decided}; {reason}"
    return judged(figures, passed, reason)


def _judge_near(figures: Verification, max_loss: float) -> Verification:
    """By the ends of the interval, so that too few inputs prove nothing."""
    nowhere = Interval(low=0.0, high=math.inf)
    if figures.kl_divergence is not None:
        ends = figures.kl_interval or nowhere
        cost, least, most = map(perplexity_rise, (figures.kl_divergence, ends.low, ends.high))
        what = "the divergence of its labels costs"
        agreed = (
            f"; the same label at {figures.token_agreement:.2%} of "
            f"{figures.decided_positions} decided positions"
            if figures.token_agreement is not None
            else ""
        )
    else:
        assert figures.cosine_distance is not None
        ends = figures.cosine_interval or nowhere
        cost, least, most = figures.cosine_distance, ends.low, ends.high
        what, agreed = "its hidden states lie off by a cosine distance of", ""
    reason = f"{what} {cost:.2%} [{least:.2%}, {most:.2%}], and {max_loss:.2%} is allowed{agreed}"
    if least <= max_loss < most:
        return msgspec.structs.replace(figures, verdict="not proven", reason=reason)
    return judged(figures, most <= max_loss, reason)
