"""Tokens per second of single runs and of predictions, by phase."""

from typing import Literal

from topout.records import Climb, PhaseResult, RungResult, RunSample, WorkloadSummary

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
