"""What a run says, in sentences with the figures behind them."""

from topout import units
from topout.records import Bound, PairedRatio, PhaseResult
from topout.records.climb import GemmSwap, ProductCounts, RunReport

_BOUNDS: dict[Bound, str] = {
    "compute": "the arithmetic takes the larger part of its time",
    "memory": "reading weights and cache takes the larger part of its time",
    "overhead": "the larger part of its time is neither arithmetic nor reading at these rates",
}


def run_findings(report: RunReport) -> list[str]:
    """How far each phase is from its limit, and what another matrix product did."""
    prefill, decode = report.result.prefill, report.result.decode
    findings = [_prefill_sentence(prefill), _decode_sentence(decode)]
    if report.gemm is not None:
        findings += _gemm_sentences(report.gemm)
    return findings


def _prefill_sentence(prefill: PhaseResult) -> str:
    reached = units.flops_per_s(prefill.flops / prefill.time_s.median)
    text = f"Prefill does {reached}"
    if prefill.ceiling_flops_per_s and prefill.mfu_of_ceiling is not None:
        text += (
            f", {units.percent(prefill.mfu_of_ceiling)} of the "
            f"{units.flops_per_s(prefill.ceiling_flops_per_s)} that this machine was measured to "
            "reach"
        )
    return f"{text}; {_BOUNDS[prefill.bound]}."


def _decode_sentence(decode: PhaseResult) -> str:
    reached = units.bytes_per_s(decode.bytes / decode.time_s.median)
    text = f"Decode reads {reached}"
    if decode.ceiling_bytes_per_s and decode.mbu_of_ceiling is not None:
        text += (
            f", {units.percent(decode.mbu_of_ceiling)} of the "
            f"{units.bytes_per_s(decode.ceiling_bytes_per_s)} measured"
        )
    return f"{text}; {_BOUNDS[decode.bound]}."


def _gemm_sentences(gemm: GemmSwap) -> list[str]:
    if gemm.reason is not None:
        return [f"{gemm.name} has no speed. {gemm.reason}"]
    sentences = []
    if gemm.prefill_speedup is not None and gemm.decode_speedup is not None:
        sentences.append(
            f"With {gemm.name} in PyTorch's place prefill is {_ratio(gemm.prefill_speedup)} as "
            f"fast, decode {_ratio(gemm.decode_speedup)}."
        )
    if gemm.counts is not None:
        sentences += _count_sentences(gemm.name, gemm.counts)
    return sentences


def _count_sentences(name: str, counts: ProductCounts) -> list[str]:
    total = counts.routed + sum(counts.passed.values())
    text = (
        f"{counts.routed} of {total} matrix products of a generation of {counts.new_tokens} "
        f"tokens went through {name}"
    )
    if counts.passed:
        text += f"; left to PyTorch: {listed(counts.passed)}"
    sentences = [f"{text}. Fused attention calls none of them."]
    if counts.copied:
        sentences.append(f"Copied into rows first: {listed(counts.copied)}.")
    return sentences


def listed(counts: dict[str, int]) -> str:
    """Counts by what they are of, the most frequent first: "12 × bf16, 1 × empty"."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} × {what}" for what, count in ordered)


def _ratio(ratio: PairedRatio) -> str:
    low, high = units.significant(ratio.low), units.significant(ratio.high)
    return f"{units.times(ratio.median)} [{low}, {high}]"
