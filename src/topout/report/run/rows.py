"""The two ways of a run as rows of text, the same on the terminal and on the page."""

from dataclasses import dataclass

from topout import units
from topout.records import PairedRatio, PhaseResult, RunSample, Verification
from topout.records.run import GemmSwap, RunReport, RunResult
from topout.report.intervals import interval, spread
from topout.report.phase_rates import sample_tokens_per_s

SAMPLE_COLUMNS = ("Run of", "Began at", "TTFT", "Prefill, tokens/s", "Decode, tokens/s", "Peak")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One way to multiply with its figures; what was not measured is an en dash."""

    name: str
    prefill: str  # tokens/s
    prefill_spread: str
    decode: str  # tokens/s
    decode_spread: str
    ttft: str
    mfu: str  # prefill, of the measured ceiling
    mbu: str  # decode, of the measured ceiling
    memory: str
    prefill_speedup: str = ""  # over PyTorch's own
    prefill_interval: str = ""
    decode_speedup: str = ""
    decode_interval: str = ""


def run_rows(report: RunReport) -> list[RunRow]:
    """PyTorch's own product, and the one in its place where it was timed."""
    rows = [_row(report.result, None)]
    if report.gemm is not None and report.gemm.result is not None:
        rows.append(_row(report.gemm.result, report.gemm))
    return rows


def _row(result: RunResult, gemm: GemmSwap | None) -> RunRow:
    prefill, decode = result.prefill, result.decode
    return RunRow(
        name=result.name,
        prefill=units.significant(prefill.tokens_per_s.median),
        prefill_spread=spread(prefill.tokens_per_s),
        decode=units.significant(decode.tokens_per_s.median),
        decode_spread=spread(decode.tokens_per_s),
        ttft=units.seconds(result.ttft_s.median),
        mfu=units.percent(prefill.mfu_of_ceiling),
        mbu=units.percent(decode.mbu_of_ceiling),
        memory=units.memory(result.peak_memory_bytes),
        prefill_speedup=_times(gemm.prefill_speedup) if gemm else "",
        prefill_interval=interval(gemm.prefill_speedup) if gemm else "",
        decode_speedup=_times(gemm.decode_speedup) if gemm else "",
        decode_interval=interval(gemm.decode_speedup) if gemm else "",
    )


def _times(ratio: PairedRatio | None) -> str:
    return units.times(ratio.median if ratio is not None else None)


def phase_rows(phase: PhaseResult) -> list[tuple[str, str]]:
    """A phase in pairs of name and value."""
    return [
        ("Time", units.seconds(phase.time_s.median)),
        ("Work", units.si(phase.flops, "FLOP")),
        ("Bytes at the least", units.si(phase.bytes, "B")),
        ("Arithmetic intensity", f"{units.significant(phase.arithmetic_intensity)} FLOP/byte"),
        ("Reached", units.flops_per_s(phase.flops / phase.time_s.median)),
        ("Arithmetic ceiling", units.flops_per_s(phase.ceiling_flops_per_s)),
        ("MFU of it", units.percent(phase.mfu_of_ceiling, 1)),
        ("Read", units.bytes_per_s(phase.bytes / phase.time_s.median)),
        ("Bandwidth ceiling", units.bytes_per_s(phase.ceiling_bytes_per_s)),
        ("MBU of it", units.percent(phase.mbu_of_ceiling, 1)),
        ("Bound", phase.bound),
    ]


def verification_rows(verification: Verification) -> list[tuple[str, str]]:
    """How the output was checked, in pairs of name and value."""
    error, noise = verification.max_logit_error, verification.rounding_noise
    agreement = verification.token_agreement
    return [
        ("Verdict", "right" if verification.passed else "not right"),
        ("Largest difference of a logit", units.ABSENT if error is None else f"{error:.2g}"),
        ("Rounding noise of the model", units.ABSENT if noise is None else f"{noise:.2g}"),
        ("Same token where it is decided", units.percent(agreement, 2)),
        ("Decided positions", f"{verification.decided_positions or 0} of {verification.positions}"),
        ("Tokens generated alike", str(verification.generated_tokens_compared or units.ABSENT)),
    ]


def sample_rows(report: RunReport) -> list[tuple[str, ...]]:
    """Every timed run, in the order in which they ran."""
    results = [report.result]
    if report.gemm is not None and report.gemm.result is not None:
        results.append(report.gemm.result)
    runs = [(sample, result.name) for result in results for sample in result.samples]
    return [_sample(report, name, run) for run, name in sorted(runs, key=lambda run: run[0].at_s)]


def _sample(report: RunReport, name: str, sample: RunSample) -> tuple[str, ...]:
    rates = [sample_tokens_per_s(sample, report.workload, phase) for phase in ("prefill", "decode")]
    return (
        name,
        units.seconds(sample.at_s),
        units.seconds(sample.ttft_s),
        *(units.ABSENT if rate is None else units.significant(rate, 4) for rate in rates),
        units.memory(sample.peak_memory_bytes),
    )
