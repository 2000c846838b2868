"""Timed runs placed under the measured ceilings, as a rung's are."""

from topout.cost.predict import Expectation
from topout.generation.placement import Work, decode_s, decode_work, place_phase, prefill_work
from topout.measure.stats import estimate
from topout.models.config import ModelConfig
from topout.records import Ceilings, PhaseResult, RunSample, WorkloadSummary
from topout.records.climb import RunResult


def place_run(
    name: str,
    samples: list[RunSample],
    config: ModelConfig,
    workload: WorkloadSummary,
    ceilings: Ceilings,
) -> RunResult:
    """Prefill and decode with their shares of the ceilings, and the highest peak of memory."""
    expectation = Expectation(dtype=workload.dtype)

    def placed(times_s: list[float], tokens: int, work: Work) -> PhaseResult:
        return place_phase(
            times_s,
            tokens,
            work,
            workload.dtype,
            ceilings,
            workload.threads,
            speedup=None,
            predicted_time_s=None,
        )

    ttfts_s = [sample.ttft_s for sample in samples]
    peaks = [sample.peak_memory_bytes for sample in samples if sample.peak_memory_bytes]
    return RunResult(
        name=name,
        prefill=placed(
            ttfts_s,
            workload.batch_size * workload.prompt_len,
            prefill_work(config, expectation, workload),
        ),
        decode=placed(
            [decode_s(sample) for sample in samples],
            workload.batch_size,
            decode_work(config, expectation, workload, 1.0),
        ),
        ttft_s=estimate(ttfts_s),
        peak_memory_bytes=max(peaks, default=None),
        samples=samples,
    )
