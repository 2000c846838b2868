"""From what was measured of a rung to the verdict on it, and to the result that a climb records."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from topout import units
from topout.generation.placement import phase_ratios, place_run, tokens_per_pass
from topout.ladder.duel import Candidate
from topout.ladder.predictions import Predictions
from topout.ladder.stack import Stack, label_of
from topout.measure.disturbance import disturbance_doubts, disturbed_pairs
from topout.measure.runner import Duel
from topout.measure.stats import chained, sample_doubts
from topout.measure.worker import WorkerFailure
from topout.records import (
    Doubt,
    Estimate,
    Prediction,
    RungResult,
    RunSample,
    Status,
    Verification,
)
from topout.records import Duel as DuelResult
from topout.rungs.rung import Rung
from topout.speed_words import speed_sentence

BASELINE_REASON = "What users have today; every other rung is measured against it."
_FAILED = {"memory": "Ran out of memory: it", "error": "Failed:", "input": "Failed:"}
LEAST_DECIDED = 512  # positions at which an exact rung has to choose the same token
_SAME = Estimate(median=1.0, low=1.0, high=1.0)


@dataclass
class Trial:
    """A rung that is tried, and what is known of it so far."""

    rung: Rung
    candidate: Candidate
    prediction: Prediction
    rival: str | None = None  # the label of the stack that it is timed against
    verification: Verification | None = None
    duel: Duel[RunSample] | None = None
    samples: list[RunSample] = field(default_factory=list)
    failure: WorkerFailure | None = None


def judge(trial: Trial) -> tuple[Status, str]:
    """Whether a rung stays, and why: it has run, its output is right, and it is the faster one."""
    if trial.failure is not None:
        start = _FAILED.get(trial.failure.kind, "It")
        return "failed", f"{start} {trial.failure.message.rstrip('.')}."
    if trial.rival is None:
        return "kept", BASELINE_REASON
    assert trial.verification is not None
    if trial.duel is None:
        unproven = trial.verification.verdict == "not proven"
        what = "not proven to be right" if unproven else "not right"
        return "rejected", f"The output is {what}: {trial.verification.reason}."
    ratio, pair_s = trial.duel.ratio(), trial.duel.elapsed_s / len(trial.duel.rival)
    status: Status = "kept" if ratio.verdict == "faster" else "rejected"
    return status, speed_sentence(ratio, trial.rival, pair_s)


def untried(rung: Rung, stack: Stack, status: Status, reason: str) -> RungResult:
    """A result without figures."""
    return RungResult(
        name=rung.name,
        on=[name for name in stack.names if name != rung.name],
        status=status,
        reason=reason,
        change=rung.change,
        output_class=rung.output_class,
    )


def tried(
    trial: Trial,
    verdict: tuple[Status, str],
    predictions: Predictions,
    earlier: Sequence[RungResult],
) -> RungResult:
    """The result of a trial; `earlier` ones hold the rival's speedup over the baseline."""
    candidate, duel = trial.candidate, trial.duel
    result = msgspec.structs.replace(
        untried(trial.rung, candidate.stack, *verdict),
        prediction=trial.prediction,
        predicted_speedup=trial.prediction.speedup,
    )
    if trial.failure is not None:
        return result
    result = msgspec.structs.replace(
        result,
        verification=trial.verification,
        weight_bytes=candidate.weight_bytes,
        prepare_s=candidate.prepare_s,
    )
    if duel is not None:
        figures = _figures(candidate.stack, duel.candidate, predictions, trial.prediction, duel)
        if candidate.stack.task == "generate":
            figures["doubts"] += position_doubts(trial.verification)
        result = msgspec.structs.replace(
            result,
            rival=trial.rival,
            rival_samples=duel.rival,
            disturbed=disturbed_pairs(duel),
            **figures,
            **_speedups(duel, trial.rival, earlier),
        )
    elif trial.samples:
        result = msgspec.structs.replace(
            result,
            speedup_over_baseline=_SAME,
            decode_speedup_over_baseline=_SAME,
            **_figures(candidate.stack, trial.samples, predictions, trial.prediction),
        )
    return result


def position_doubts(verification: Verification | None) -> list[Doubt]:
    """A doubt where an exact rung was held to the tokens of fewer positions than are wanted."""
    if verification is None or verification.decode_divergence is not None:  # that of a near one
        return []
    decided = verification.decided_positions or 0
    if decided >= LEAST_DECIDED:
        return []
    return [
        Doubt(
            about="output",
            sentence=(
                f"The output was compared on {units.counted(decided, 'decided position')}, and "
                f"{LEAST_DECIDED} are wanted."
            ),
            remedy="Give more --new-tokens; of a slow model fewer positions are verified.",
        )
    ]


def with_more_runs(
    baseline: RungResult, samples: Sequence[RunSample], predictions: Predictions
) -> RungResult:
    """The baseline's result over more of its runs: those in which it was a rung's rival."""
    assert baseline.prediction is not None
    runs = [*baseline.samples, *samples]
    figures = _figures(Stack(), runs, predictions, baseline.prediction)
    return msgspec.structs.replace(baseline, **figures)


def _figures(
    stack: Stack,
    samples: list[RunSample],
    predictions: Predictions,
    prediction: Prediction,
    duel: Duel[RunSample] | None = None,
) -> dict[str, Any]:
    """Runs placed against the ceilings, and the doubts that they raise."""
    expectation, context = predictions.expectation(stack), predictions.context
    placed = place_run(
        samples,
        predictions.config,
        expectation,
        context.workload,
        context.ceilings,
        prediction,
        duel,
    )
    return {
        **msgspec.structs.asdict(placed),
        "samples": samples,
        "doubts": sample_doubts("runs", samples) + disturbance_doubts("runs", duel),
        "tokens_per_pass": tokens_per_pass(samples) if expectation.proposed_tokens else None,
    }


def _speedups(
    duel: Duel[RunSample], rival: str | None, earlier: Sequence[RungResult]
) -> dict[str, Any]:
    """Over the rival, and chained over the rival's own speedup over the baseline."""
    whole, decode = duel.ratio(), phase_ratios(duel).decode
    before = next((each for each in earlier if label_of(each.stack) == rival), None)
    speedup = before.speedup_over_baseline if before is not None else None
    of_decode = before.decode_speedup_over_baseline if before is not None else None
    return {
        "speedup": whole,
        "speedup_over_baseline": chained(speedup, whole) if speedup else None,
        "decode_speedup_over_baseline": chained(of_decode, decode)
        if of_decode and decode
        else None,
    }


def duel_result(champion: str, duel: Duel[RunSample]) -> DuelResult:
    """The figure on top of the result."""
    ratios = phase_ratios(duel)
    return DuelResult(
        champion=champion,
        speedup=duel.ratio(),
        prefill_speedup=ratios.prefill,
        decode_speedup=ratios.decode,
        samples=duel.candidate,
        rival_samples=duel.rival,
        disturbed=disturbed_pairs(duel),
    )
