"""Phases of runs: tokens per second, measured and predicted, and their place on the roofline."""

from typing import Literal

from topout.cost.roofs import ROOF_TOLERANCE
from topout.errors import InputError
from topout.records import Climb, PhaseResult, RungResult, RunSample, WorkloadSummary
from topout.roofline import Placement, place

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, Phase] = ("prefill", "decode")


def phase_result(rung: RungResult, phase: Phase) -> PhaseResult | None:
    """What was measured of one phase."""
    return rung.prefill if phase == "prefill" else rung.decode


def sample_tokens_per_s(sample: RunSample, workload: WorkloadSummary, phase: Phase) -> float | None:
    """Tokens/s of all sequences of the batch in one run; None when the phase took no time."""
    if phase == "prefill":
        tokens, time_s = workload.prompt_len, sample.ttft_s
    else:
        # The first new token comes out of prefill.
        tokens, time_s = sample.new_tokens - 1, sample.total_s - sample.ttft_s
    return None if time_s <= 0 or tokens <= 0 else tokens * workload.batch_size / time_s


def predicted_tokens_per_s(climb: Climb, rung: RungResult, phase: Phase) -> float | None:
    """Tokens/s that the cost model expected; None when it made no prediction."""
    if rung.prediction is None:
        return None
    expected = rung.prediction.prefill if phase == "prefill" else rung.prediction.decode
    tokens = climb.workload.prompt_len if phase == "prefill" else 1
    return None if expected.time_s <= 0 else tokens * climb.workload.batch_size / expected.time_s


def placement(result: PhaseResult) -> Placement | None:
    """Where a measured phase stands under its own ceilings; None when they are not known."""
    if result.ceiling_flops_per_s is None or result.ceiling_bytes_per_s is None:
        return None
    try:
        return place(
            result.arithmetic_intensity,
            result.flops / result.time_s.median,
            result.ceiling_flops_per_s,
            result.ceiling_bytes_per_s,
            ROOF_TOLERANCE,
        )
    except (InputError, ZeroDivisionError):
        return None
