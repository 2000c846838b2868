"""Runs made by hand: as it is, with a version in place, and with one that failed."""

from typing import Any

from msgspec.structs import replace

from topout.records import (
    Estimate,
    PairedRatio,
    PhaseResult,
    RunSample,
    Verification,
)
from topout.records.climb import GemmSwap, ProductCounts, RunReport, RunResult

from ..example_climb import MARKUP, example_climb, example_machine

__all__ = ["MARKUP", "example_run", "failed_run", "swapped_run"]
PROMPT_LEN, NEW_TOKENS = 256, 128


def example_run(**changes: Any) -> RunReport:
    """The model as it is, on 2 threads."""
    climb = example_climb()
    workload = replace(climb.workload, prompt_len=PROMPT_LEN, new_tokens=NEW_TOKENS)
    report = RunReport(
        topout_version="0.1.0",
        created_at="2026-01-02T03:04:05+00:00",
        elapsed_s=42.0,
        machine=example_machine(),
        ceilings=climb.ceilings,
        model=climb.model,
        workload=workload,
        backend="decoder",
        weight_bytes=30_409_728,
        result=result_of("pytorch", prefill=4000.0, decode=300.0),
        findings=["Prefill does 61 GFLOP/s."],
    )
    return replace(report, **changes)


def swapped_run(name: str = "tiled", **changes: Any) -> RunReport:
    """A version in PyTorch's place that is right, and slower."""
    result = result_of(name, prefill=1000.0, decode=150.0, peak=600 << 20)
    gemm = GemmSwap(
        name=name,
        counts=ProductCounts(
            new_tokens=NEW_TOKENS, routed=4224, passed={"batched": 12}, copied={"A": 3}
        ),
        verification=verification(passed=True),
        result=result,
        prefill_speedup=PairedRatio(median=0.25, low=0.24, high=0.26, pairs=[0.24, 0.26]),
        decode_speedup=PairedRatio(median=0.5, low=0.49, high=0.51, pairs=[0.49, 0.51]),
        speedup=PairedRatio(median=0.4, low=0.39, high=0.41, pairs=[0.39, 0.41]),
    )
    return example_run(gemm=gemm, **changes)


def failed_run(name: str = "my.cpp") -> RunReport:
    """A user's file whose output is not right: it has no speed."""
    gemm = GemmSwap(
        name=name,
        source=f"/home/me/{name}",
        verification=verification(passed=False),
        reason="The output is not right: a logit is off by 3; rounding explains 1e-05.",
    )
    return example_run(gemm=gemm)


def verification(*, passed: bool) -> Verification:
    return Verification(
        method="teacher-forced held-out text",
        passed=passed,
        reason="same tokens at all 30 decided positions of 32" if passed else "a logit is off by 3",
        positions=32,
        decided_positions=30,
        token_agreement=1.0 if passed else 0.25,
        rounding_noise=1.2e-05,
        max_logit_error=1.7e-05 if passed else 3.0,
        generated_tokens_compared=32,
    )


def result_of(name: str, *, prefill: float, decode: float, peak: int = 400 << 20) -> RunResult:
    """Tokens/s of both phases, with two runs a little around them."""
    samples = [
        RunSample(
            ttft_s=PROMPT_LEN / prefill * factor,
            total_s=(PROMPT_LEN / prefill + (NEW_TOKENS - 1) / decode) * factor,
            new_tokens=NEW_TOKENS,
            forward_passes=NEW_TOKENS - 1,
            at_s=10.0 + number + (0.5 if name != "pytorch" else 0.0),
            peak_memory_bytes=peak,
        )
        for number, factor in enumerate((0.98, 1.02))
    ]
    return RunResult(
        name=name,
        prefill=phase(PROMPT_LEN / prefill, prefill, flops=3.9e9, bytes_=3.2e7),
        decode=phase(1 / decode, decode, flops=1.5e7, bytes_=3.4e7),
        ttft_s=around(PROMPT_LEN / prefill),
        peak_memory_bytes=peak,
        samples=samples,
    )


def phase(time_s: float, rate: float, *, flops: float, bytes_: float) -> PhaseResult:
    """A phase under ceilings of 118 GFLOP/s and 24.6 GB/s."""
    return PhaseResult(
        tokens_per_s=around(rate),
        time_s=around(time_s),
        flops=flops,
        bytes=bytes_,
        arithmetic_intensity=flops / bytes_,
        mfu_of_ceiling=flops / 118e9 / time_s,
        mbu_of_ceiling=bytes_ / 24.6e9 / time_s,
        bound="compute" if flops / bytes_ > 5 else "memory",
        ceiling_flops_per_s=118e9,
        ceiling_bytes_per_s=24.6e9,
    )


def around(value: float) -> Estimate:
    return Estimate(median=value, low=0.98 * value, high=1.02 * value)
