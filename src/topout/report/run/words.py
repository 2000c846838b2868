"""What a run was of and what it says, in sentences."""

from topout import units
from topout.records.run import RunReport
from topout.report.intervals import interval


def subject_sentence(report: RunReport) -> str:
    """The model and how it was run."""
    model, work = report.model, report.workload
    return (
        f"{units.count(model.parameters)} parameters ({model.weights} weights), {work.dtype}, "
        f"{report.backend}, on {work.threads} thread{'' if work.threads == 1 else 's'}; prompt "
        f"{work.prompt_len} tokens, {work.new_tokens} new, batch {work.batch_size}"
    )


def headlines(report: RunReport) -> list[str]:
    """The result in one to three sentences, the most important first."""
    gemm, own = report.gemm, report.result
    rates = (
        f"{units.significant(own.prefill.tokens_per_s.median)} tokens/s in prefill "
        f"(the first after {units.seconds(own.ttft_s.median)}), "
        f"{units.significant(own.decode.tokens_per_s.median)} tokens/s in decode"
    )
    sentences = [f"{report.model.name} runs at {rates}."]
    if gemm is not None and gemm.prefill_speedup is not None and gemm.decode_speedup is not None:
        sentences.insert(
            0,
            f"With {gemm.name} in PyTorch's place prefill runs at "
            f"{units.times(gemm.prefill_speedup.median)} the speed "
            f"{interval(gemm.prefill_speedup)}, decode at "
            f"{units.times(gemm.decode_speedup.median)} {interval(gemm.decode_speedup)}.",
        )
        sentences[1] = f"PyTorch's own: {rates}."
    elif gemm is not None and gemm.reason is not None:
        sentences.insert(0, f"{gemm.name} has no speed. {gemm.reason}")
    if report.model.weights == "random":
        sentences.append("The weights are random: the speed is real, the text is meaningless.")
    return sentences
